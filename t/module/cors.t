#!/usr/bin/perl

# llm_cors: preflights are answered before authentication and limits, headers
# are on errors, too.

use strict;
use warnings;
use lib 't/lib';
use LLMTest;
use Test::More;

my $t = LLMTest->new->conf(http => 'limit_req_zone $server_name zone=r:1m rate=1r/m;', server => <<'EOC');
        location /any/ { llm_pass; llm_cors *; }
        location /list/ { llm_pass; llm_cors https://a.example https://b.example:8443; }
        location /same/ { llm_pass; llm_cors same; }
        location /auth/ { llm_pass; llm_cors https://a.example; auth_basic x; auth_basic_user_file users; }
        location /limit/ { llm_pass; llm_cors *; limit_req zone=r; }
        location /sub/ { llm_pass; llm_cors *; auth_request /deny; }
        location = /deny { internal; return 403; }
        location = /health { llm_health; llm_cors *; }
EOC
$t->write('users', "u:{PLAIN}p\n");
$t->engine->run;

my @a = ('Origin: https://a.example');
my $p = 'access-control-';

sub preflight {
    my ($uri, @h) = @_;
    return $t->request('OPTIONS', $uri, headers => ['Access-Control-Request-Method: POST',
        'Access-Control-Request-Headers: authorization,content-type,x-stainless-lang', @h])->response;
}

for my $loc (qw(any list auth limit sub)) {
    for my $i (1, 2) {
        my $r = preflight("/$loc/chat/completions", @a);
        is($r->{status}, 204, "$loc: preflight $i");
        next if $i == 2;
        is($r->{headers}{$p . 'allow-origin'}, $loc =~ /list|auth/ ? 'https://a.example' : '*',
            "$loc: origin");
        like($r->{headers}{$p . 'allow-methods'} || '', qr/POST/, "$loc: methods");
        is($r->{headers}{$p . 'allow-headers'}, 'authorization,content-type,x-stainless-lang',
            "$loc: headers are reflected");
        ok($r->{headers}{$p . 'max-age'}, "$loc: max-age");
        is($r->{headers}{$p . 'allow-credentials'}, undef, "$loc: no credentials") if $loc eq 'any';
        is($r->{body}, '', "$loc: no body");
        like($r->{headers}{vary} || '', qr/Origin/i, "$loc: Vary") if $loc eq 'list';
    }
}

# a stream, a plain answer, errors

my $r = $t->post('/list/chat/completions', chat(sse(['events', 1, 0])), headers => \@a);
is($r->{status}, 200, 'a stream');
is($r->{headers}{$p . 'allow-origin'}, 'https://a.example', 'a stream: origin');
like($r->{headers}{$p . 'expose-headers'} || '', qr/x-request-id/i, 'a stream: exposed headers');
like($r->{headers}{$p . 'expose-headers'} || '', qr/retry-after/i, 'a stream: Retry-After is exposed');
like($r->{headers}{vary} || '', qr/Origin/i, 'a stream: Vary');
$r = $t->post('/list/chat/completions', chat(sse()), headers => ['Origin: https://b.example:8443']);
is($r->{headers}{$p . 'allow-origin'}, 'https://b.example:8443', 'another origin');

my %err = ('/list/nothing' => 404, '/auth/chat/completions' => 401, '/sub/chat/completions' => 403);
for my $uri (sort keys %err) {
    $r = $t->post($uri, '{}', headers => \@a);
    is($r->{status}, $err{$uri}, "$uri: status");
    ok($r->{headers}{$p . 'allow-origin'}, "$uri: origin on an error");
    ok($r->{error}, "$uri: JSON");
}
$t->post('/limit/chat/completions', chat(sse()), headers => \@a);
$r = $t->post('/limit/chat/completions', chat(sse()), headers => \@a);
is($r->{status}, 429, 'limit_req: 429');
is($r->{headers}{$p . 'allow-origin'}, '*', 'limit_req: origin');
$r = $t->get('/any/chat/completions', headers => \@a);
is($r->{status}, 405, 'a wrong method: 405');
is($r->{headers}{$p . 'allow-origin'}, '*', '405: origin');
$r = $t->get('/health', headers => \@a);
is($r->{headers}{$p . 'allow-origin'}, '*', 'health: origin');

# origins that are not listed, no origin, no preflight

$r = preflight('/list/chat/completions', 'Origin: https://evil.example');
is($r->{headers}{$p . 'allow-origin'}, undef, 'another origin: none');
for my $o ('https://a.example.evil', 'http://a.example', 'https://a.example:444', 'null',
    'https://b.example')
{
    $r = $t->post('/list/chat/completions', chat(sse()), headers => ["Origin: $o"]);
    is($r->{headers}{$p . 'allow-origin'}, undef, "$o: none");
}
$r = $t->post('/list/chat/completions', chat(sse()));
is($r->{headers}{$p . 'allow-origin'}, undef, 'without Origin: none');
like($r->{headers}{vary} || '', qr/Origin/i, 'without Origin: Vary all the same');

my $own = 'http://localhost:' . $t->port;
$r = $t->request('POST', '/same/chat/completions', body => chat(sse()), headers => ["Origin: $own"]);
$r = $r->response;
is($r->{status}, 200, 'same: works');
$r = $t->post('/same/chat/completions', chat(sse()), headers => ['Origin: https://a.example']);
is($r->{headers}{$p . 'allow-origin'}, undef, 'same: no other');

$r = $t->request('OPTIONS', '/any/chat/completions', headers => \@a)->response;
is($r->{status}, 405, 'OPTIONS that is no preflight');
$r = preflight('/v1/chat/completions', @a);
is($r->{headers}{$p . 'allow-origin'}, undef, 'llm_cors off: none');
is($r->{status}, 405, 'llm_cors off: 405');
is($t->engine_count(qr/ submit .*op=0/), 0, 'the engine sees nothing of it');

$t->done;
