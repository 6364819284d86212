#!/usr/bin/perl

# Locations of ours reached in other ways than by a client's request: internal
# redirects, rewrites, subrequests of auth_request, mirror and SSI.

use strict;
use warnings;
use lib 't/lib';
use LLMTest;
use Test::More;

my $t = LLMTest->new->conf(server => <<'EOC');
        location /rewritten/ { rewrite ^/rewritten/(.*) /v1/$1 last; }
        location /named/ { try_files /nothing @llm; }
        location @llm { llm_pass; }
        location /fallback/ { error_page 418 = @llm; return 418; }
        location /icept/ { llm_pass; llm_intercept_errors on; error_page 404 = /v1/models; }
        location /guarded { auth_request /v1/models; root %%DIR%%; }
        location = /guarded404 { auth_request /v1/nothing; root %%DIR%%; }
        location /mirrored/ { mirror /v1/chat/completions; mirror_request_body on; return 200 "m\n"; }
        location /mirroring/ { mirror /v1/models; llm_pass; }
        location = /page.html { ssi on; root %%DIR%%; }
        location = /two.html { ssi on; root %%DIR%%; }
        location /memory/ { rewrite ^/memory/(.*)$ /v1/$1 break; llm_pass; }
EOC
$t->write('guarded', "let in\n")->write('guarded404', "x\n");
$t->write('page.html', "A <!--#include virtual=\"/v1/models\" --> B\n");
$t->write('two.html', "<!--#include virtual=\"/v1/models/smollm2\" wait=\"yes\" -->, "
    . "<!--#include virtual=\"/v1/nothing\" -->, <!--#include virtual=\"/plain\" -->\n");
$t->engine->run;

my $plain = chat(undef, stream => JSON::PP::false);
my $stream = chat(sse(['events', 2, 2]));
my $r;

for my $uri ('/rewritten/chat/completions', '/named/chat/completions', '/memory/chat/completions') {
    $r = $t->post($uri, $stream);
    is($r->{status}, 200, "$uri: status");
    is(scalar(() = $r->{body} =~ /^data: /mg), 3, "$uri: events");
}
is($t->post('/named/nothing', $plain)->{error}{code}, 'unknown_url', 'a named location: 404');

$r = $t->post('/fallback/chat/completions', $stream);
is(scalar(() = $r->{body} =~ /^data: /mg), 3, 'error_page as the way in') or diag($r->{body});

$r = $t->get('/icept/nothing');
is($r->{json}{object}, 'list', 'error_page from ours to ours');

is($t->get('/guarded')->{body}, "let in\n", 'auth_request by ours: let in');
isnt($t->get('/guarded404')->{status}, 200, 'auth_request by ours: not let in');

$r = $t->get('/page.html');
is($r->{body}, "A {\"object\":\"list\",\"data\":[]} B\n", 'SSI');
$r = $t->get('/two.html');
like($r->{body}, qr/^\{"id":"smollm2".*\}, .*, plain\n$/s, 'SSI: several');
$r = $t->post('/page.html', 'x');
is($r->{status}, 405, 'SSI: POST');

is($t->post('/mirrored/x', $plain)->{status}, 200, 'a mirror to ours');
$r = $t->post('/mirroring/chat/completions', $stream);
is($r->{status}, 200, 'a mirror beside ours');
is(scalar(() = $r->{body} =~ /^data: /mg), 3, 'a mirror beside ours: events');

# the client goes while a subrequest waits

$t->tell('pause');
my $c = $t->request('GET', '/page.html');
is($t->get('/livez')->{status}, 200, 'a subrequest waits');
$c->close;
my $d = $t->request('GET', '/guarded');
is($t->get('/livez')->{status}, 200, 'another one');
$d->close;
$t->tell('resume');
is($t->get('/page.html')->{status}, 200, 'works again');
is($t->get('/guarded')->{body}, "let in\n", 'this one, too');

$t->done;
