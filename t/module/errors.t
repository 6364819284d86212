#!/usr/bin/perl

# Errors inside a location of ours are JSON, whoever made them; error_page and
# llm_intercept_errors; Retry-After.

use strict;
use warnings;
use lib 't/lib';
use LLMTest;
use Test::More;

my $t = LLMTest->new->conf(format => q{'error=$llm_error_type'}, http => <<'EOC', server => <<'EOC2');
        limit_req_zone $http_x_key zone=req:1m rate=1r/m;
        limit_conn_zone $llm_tenant zone=conn:1m;
        limit_req_zone $llm_tenant zone=tenant:1m rate=1r/m;
        limit_req_zone $http_x_key zone=req503:1m rate=1r/m;
EOC
        location /limited/ { llm_pass; limit_req zone=req; }
        location /tenant/ { llm_pass; llm_tenant $http_x_tenant; limit_req zone=tenant; }
        location /conn/ { llm_pass; llm_tenant $http_x_tenant; limit_conn conn 1; }
        location /l503/ { llm_pass; limit_req zone=req503; limit_req_status 503; }
        location /small/ { llm_pass; client_max_body_size 1k; }
        location /basic/ { llm_pass; auth_basic "area"; auth_basic_user_file %%DIR%%/users; }
        location /sub/ { llm_pass; auth_request /auth; }
        location /sub401/ { llm_pass; auth_request /auth401; }
        location /sub500/ { llm_pass; auth_request /auth500; }
        location = /auth { internal; return 403; }
        location = /auth401 { internal; return 401; }
        location = /auth500 { internal; return 500; }
        location /deny/ { llm_pass; deny all; }
        location /return/ { llm_pass; if ($http_x_key = "t") { return 418; } }
        location /text/ { llm_pass; if ($http_x_key = "t") { return 403 "own text"; } }
        location /slow/ { llm_pass; client_body_timeout 300ms; }
        location /page/ { llm_pass; client_max_body_size 1k;
                          error_page 404 413 500 /custom.html; }
        location /icept/ { llm_pass; llm_intercept_errors on; error_page 404 413 500 503 /custom.html; }
        location /named/ { llm_pass; llm_intercept_errors on; error_page 404 = @named; }
        location @named { return 200 "named\n"; }
        location = /custom.html { return 200 "custom page\n"; }
EOC2
$t->write('users', "u:{PLAIN}p\n");
$t->engine->run;

my $plain = chat(undef, stream => JSON::PP::false);

# An error of our shape.
sub is_error {
    my ($r, $status, $type, $code, $name) = @_;
    is($r->{status}, $status, "$name: $status");
    is($r->{headers}{'content-type'}, 'application/json', "$name: JSON");
    is($r->{headers}{'content-length'}, length $r->{body}, "$name: length");
    my $e = $r->{error} || {};
    is($e->{type}, $type, "$name: type");
    is($e->{code}, $code, "$name: code");
    ok(length($e->{message} || ''), "$name: message");
    ok(exists $e->{param} && exists $e->{code}, "$name: param and code are there");
    like($r->{headers}{'x-request-id'} || '', qr/./, "$name: x-request-id");
}

sub post { my ($uri, @o) = @_; return $t->post("$uri/chat/completions", $plain, @o) }

# of the core and of other modules

is_error($t->post('/small/chat/completions', 'x' x 5000), 413, 'invalid_request_error',
    'request_too_large', 'client_max_body_size');
is_error($t->post('/small/chat/completions', 'x' x 5000, chunked => 1000), 413,
    'invalid_request_error', 'request_too_large', 'client_max_body_size, chunked');
is_error(post('/deny'), 403, 'permission_error', undef, 'deny');
is_error(post('/sub'), 403, 'permission_error', undef, 'auth_request');
is_error(post('/sub500'), 500, 'server_error', undef, 'auth_request that fails');

my $r = post('/basic');
is_error($r, 401, 'authentication_error', 'invalid_api_key', 'auth_basic');
is($r->{headers}{'www-authenticate'}, 'Basic realm="area"', 'auth_basic: its header');
is(post('/basic', headers => ['Authorization: Basic dTpw'])->{status}, 200, 'auth_basic: let in');
$r = post('/sub401');
is_error($r, 401, 'authentication_error', 'invalid_api_key', 'auth_request 401');
is($r->{headers}{'www-authenticate'}, 'Bearer', 'auth_request 401: Bearer');

is(post('/limited', headers => ['X-Key: a'])->{status}, 200, 'limit_req: the first');
$r = post('/limited', headers => ['X-Key: a']);
is_error($r, 429, 'rate_limit_error', 'rate_limit_exceeded', 'limit_req');
like($r->{headers}{'retry-after'} || '', qr/^[1-9]\d*$/, 'limit_req: Retry-After');
like($t->access_log(qr/ 429 /), qr/error=rate_limit_error/, 'limit_req: in the access log');
is(post('/l503', headers => ['X-Key: a'])->{status}, 200, 'limit_req_status 503: the first');
$r = post('/l503', headers => ['X-Key: a']);
is_error($r, 503, 'service_unavailable_error', 'server_is_overloaded', 'limit_req_status 503');
like($r->{headers}{'retry-after'} || '', qr/^[1-9]\d*$/, 'limit_req_status 503: Retry-After');

# $llm_tenant as a key of limits

is(post('/tenant', headers => ['X-Tenant: a'])->{status}, 200, '$llm_tenant: a');
is(post('/tenant', headers => ['X-Tenant: a'])->{status}, 429, '$llm_tenant: a again');
is(post('/tenant', headers => ['X-Tenant: b'])->{status}, 200, '$llm_tenant: b');

my $c = $t->stream(sse(['wait', 'conn']), uri => '/conn/chat/completions',
    headers => ['X-Tenant: a']);
$t->engine_log(qr/for=conn/);
is_error(post('/conn', headers => ['X-Tenant: a']), 429, 'rate_limit_error', 'rate_limit_exceeded',
    'limit_conn');
is(post('/conn', headers => ['X-Tenant: b'])->{status}, 200, 'limit_conn: another tenant');
$t->go('conn');
$c->events;
is(wait_for(sub { post('/conn', headers => ['X-Tenant: a'])->{status} == 200 }), 1,
    'limit_conn: free again');

is_error(post('/return', headers => ['X-Key: t']), 418, 'invalid_request_error', undef, 'return 418');
is(post('/text', headers => ['X-Key: t'])->{body}, 'own text', 'return with a text stays');

$c = $t->client;
$c->send("POST /slow/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
$r = $c->response;
ok($r->{status} == 408 || $r->{status} == 0, 'a body that does not come: 408 or closed');
$c->close;

$c = $t->client;
$c->send("HEAD /v1/nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
$c->{method} = 'HEAD';
$r = $c->response;
is($r->{status}, 404, 'HEAD of an error');
ok($c->closed && $c->{in} eq '', 'has no body');

# error_page: of the core's errors, not of ours, unless llm_intercept_errors

my $err = sub {
    my ($status) = @_;
    return chat([['head', $status, 'json'], ['data', '{"error":{"message":"engine"}}'],
        ['end', { outcome => 'error', error => 'server_error' }]]);
};
is($t->post('/page/chat/completions', 'x' x 5000)->{body}, "custom page\n",
    'error_page takes an error of the core');
$r = $t->post('/page/nothing', '{}');
is($r->{error}{code}, 'unknown_url', 'error_page leaves ours alone');
$r = $t->post('/page/chat/completions', $err->(500));
is($r->{error}{message}, 'engine', "error_page leaves the engine's alone");

$r = $t->post('/icept/nothing', '{}');
is($r->{status}, 404, 'llm_intercept_errors: status');
is($r->{body}, "custom page\n", 'llm_intercept_errors: ours');
$r = $t->post('/icept/chat/completions', $err->(500));
is($r->{status}, 500, "llm_intercept_errors: the engine's status");
is($r->{body}, "custom page\n", "llm_intercept_errors: the engine's");
$r = $t->post('/icept/chat/completions', $err->(400));
is($r->{error}{message}, 'engine', 'llm_intercept_errors: a status without error_page');
is($t->post('/icept/chat/completions', $plain)->{status}, 200, 'llm_intercept_errors: no error');
is($t->post('/named/nothing', '{}')->{body}, "named\n", 'llm_intercept_errors: a named location');

# the engine's errors

for my $status (400, 404, 422, 429, 500, 503) {
    $r = $t->post('/v1/chat/completions', $err->($status));
    is($r->{status}, $status, "the engine's $status");
    is($r->{error}{message}, 'engine', "the engine's $status: its body");
    is($r->{headers}{'content-type'}, 'application/json', "the engine's $status: its type");
}
like($t->access_log(qr/ 422 /), qr/error=server_error/, 'error type in the access log');

for ([1500, '2', '1500'], [1, '1', '1'], [30_000, '30', '30000'], [0, undef, undef]) {
    my ($ms, $s, $x) = @$_;
    $r = $t->post('/v1/chat/completions', chat([['head', 503, 'json', { retry_ms => $ms }],
        ['data', '{}'], ['end', {}]]));
    is($r->{headers}{'retry-after'}, $s, "Retry-After of $ms ms");
    is($r->{headers}{'retry-after-ms'}, $x, "retry-after-ms of $ms ms");
    is($r->{headers}{'x-should-retry'}, undef, 'no x-should-retry');
}

$r = $t->post('/v1/chat/completions', chat([['head', 500, 'json', { no_retry => 1 }],
    ['data', '{}'], ['end', {}]]));
is($r->{headers}{'x-should-retry'}, 'false', 'x-should-retry');

is_error($t->post('/v1/chat/completions', chat([['admit', {}], ['end', { outcome => 'error' }]])), 500,
    'server_error', undef, 'END without HEAD');

is($t->get('/nothing')->{headers}{'content-type'}, 'text/html', 'elsewhere errors stay HTML');

$t->done;
