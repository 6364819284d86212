#!/usr/bin/perl

# What llm_pass answers to which path and method, and what it tells the
# engine.

use strict;
use warnings;
use lib 't/lib';
use LLMTest;
use Test::More;

my $t = LLMTest->new->conf(
    server => <<'EOC',
        location /forced/ { llm_pass smollm2; }
        location = /exact/chat/completions { llm_pass; }
        location ~ ^/re/(\w+)/ { llm_pass; }
        location /api/v1/ { llm_pass; }
        location / { llm_pass; }
EOC
    location => 'llm_tenant $http_x_tenant; llm_cache_salt $http_x_salt;');
$t->engine->run;

my $n = 0;
sub submit { return LLMTest::stats($t->engine_log(qr/ submit /, n => ++$n)) }
sub plain { return chat(undef, stream => JSON::PP::false) }

# dispatch

my $r = $t->post('/v1/chat/completions', plain(),
    headers => ['X-Tenant: alice', 'X-Salt: s1']);
is($r->{status}, 200, 'chat');
is($r->{json}{object}, 'chat.completion', 'its body');
is($r->{headers}{'content-type'}, 'application/json', 'its type');
is($r->{headers}{'content-length'}, length $r->{body}, 'its length');
like($r->{headers}{'x-request-id'}, qr/^[0-9a-f]{32}$/, 'x-request-id');
like($r->{headers}{'openai-processing-ms'}, qr/^\d+$/, 'openai-processing-ms');
is($r->{headers}{'openai-version'}, '2020-10-01', 'openai-version');

my $s = submit();
is($s->{op}, 1, 'SUBMIT: operation');
is($s->{dialect}, 1, 'SUBMIT: dialect');
is($s->{flags}, 0, 'SUBMIT: flags');
is($s->{tenant}, 'alice', 'SUBMIT: tenant');
is($s->{salt}, 's1', 'SUBMIT: salt');
is($s->{model}, '', 'SUBMIT: no model is forced');
is($s->{reqid}, $r->{headers}{'x-request-id'}, 'SUBMIT: request id');
is($s->{credit}, 65536, 'SUBMIT: credit');
is($s->{body_len}, length plain(), 'SUBMIT: length of the body');
my $seed = $s->{seed};

my @ops = (['/v1/completions', 2], ['/v1/tokenize', 4], ['/v1/detokenize', 5],
    ['/exact/chat/completions', 1], ['/re/any/chat/completions', 1],
    ['/api/v1/chat/completions', 1], ['/chat/completions', 1]);
for (@ops) {
    my ($uri, $op) = @$_;
    is($t->post($uri, plain())->{status}, 200, "POST $uri");
    is(submit()->{op}, $op, "POST $uri is operation $op");
}

is($t->post('/forced/chat/completions', plain())->{status}, 200, 'forced model');
$s = submit();
is($s->{flags}, 2, 'SUBMIT: the model is forced');
is($s->{model}, 'smollm2', 'SUBMIT: its name');
isnt($s->{seed}, $seed, 'SUBMIT: another seed');

$r = $t->post('/v1/chat/completions?a=b', plain());
is($r->{status}, 200, 'arguments do no harm');
submit();

# models

$r = $t->get('/v1/models');
is($r->{status}, 200, 'models');
is($r->{json}{object}, 'list', 'models: a list');
$s = submit();
is($s->{op}, 3, 'models: operation');
is($s->{model}, '', 'models: all');

$r = $t->get('/v1/models/smollm2');
is($r->{json}{id}, 'smollm2', 'one model');
is(submit()->{model}, 'smollm2', 'one model: its name');

$r = $t->get('/v1/models/org%2Fsome%20model');
is($r->{status}, 404, 'unknown model');
is($r->{error}{code}, 'model_not_found', 'unknown model: code');
is(submit()->{model}, 'org/some model', 'a name with escapes');

$r = $t->request('HEAD', '/v1/models')->response;
is($r->{status}, 200, 'HEAD of models');
is($r->{body}, '', 'HEAD has no body');
ok($r->{headers}{'content-length'}, 'HEAD has a length');
submit();

# what does not exist

for my $uri ('/v1/nothing', '/v1/', '/v1/chat', '/v1/chat/completions/', '/v1/chat/completionsx',
    '/v1/xchat/completions', '/v1/modelsx')
{
    $r = $t->post($uri, plain());
    is($r->{status}, 404, "POST $uri") or next;
    is($r->{error}{type}, 'invalid_request_error', "POST $uri: type");
    is($r->{error}{code}, 'unknown_url', "POST $uri: code");
    ok(exists $r->{error}{param}, "POST $uri: param");
    is($r->{headers}{'content-type'}, 'application/json', "POST $uri: JSON");
}

for (['GET', '/v1/chat/completions', 'POST'], ['DELETE', '/v1/completions', 'POST'],
    ['PUT', '/v1/tokenize', 'POST'], ['POST', '/v1/models', 'GET, HEAD'],
    ['DELETE', '/v1/models/smollm2', 'GET, HEAD'], ['OPTIONS', '/v1/models', 'GET, HEAD'])
{
    my ($m, $uri, $allow) = @$_;
    $r = $t->request($m, $uri, body => '{}')->response;
    is($r->{status}, 405, "$m $uri");
    is($r->{headers}{allow}, $allow, "$m $uri: Allow");
    is($r->{error}{code}, 'method_not_supported', "$m $uri: code");
}

is($t->engine_count(qr/ submit /), $n, 'the engine saw none of these');

# many in a row on one connection: slots and generations

my $c = $t->client;
for (1 .. 50) {
    $r = $t->request('POST', '/v1/chat/completions', body => plain(), on => $c)->response;
    last if $r->{status} != 200;
}
is($r->{status}, 200, 'keepalive: fifty requests');
$c->close;

$t->done;
