#!/usr/bin/perl

# nginx -t names file and line of every mistake; what is right passes.

use strict;
use warnings;
use lib 't/lib';
use LLMTest;
use Test::More;

my $t = LLMTest->new;
my $engine = 'llm_engine local { socket unix:%%SOCK%%; }';
my $model = 'llm_model m { weights a.gguf; }';

# The text goes to lines 7 (http) and 10 (server); says where the mistake is.
sub check {
    my ($http, $server) = @_;
    $t->conf_raw("%%GLOBALS%%error_log error.log;\nevents { }\nhttp {\n%%HTTP%%\n"
        . "client_max_body_size 32m; limit_req_status 429;\n#HERE\n$http\n"
        . "server {\nlisten 127.0.0.1:%%PORT_0%%;\n#THERE\n$server\n}\n}\n");
    my ($rc, $out) = $t->nginx_t;
    my @l = split /\n/, LLMTest::slurp("$t->{dir}/nginx.conf");
    my ($http_at) = grep { $l[$_ - 2] eq '#HERE' } 2 .. @l;
    my ($server_at) = grep { $l[$_ - 2] eq '#THERE' } 2 .. @l;
    return ($rc, $out, $http_at, $server_at);
}

my @good = (
    [$engine . $model, 'location /v1/ { llm_pass; }'],
    ['llm_engine local { }' . $model, 'location /v1/ { llm_pass; }'],
    ['', 'location /x { return 200; }'],
    [$engine, 'location /v1/ { llm_pass; }'],
    [$engine . $model, 'location /v1/ { llm_pass m; }'],
    [$engine . 'llm_model m { weights a; names x y; context 4096; }', 'location /v1/ { llm_pass y; }'],
    [$engine . 'llm_model m { engine local; weights a; context 8k; }', 'location /v1/ { llm_pass; }'],
    [$engine . 'llm_model m { weights folder/; quant q4_k; }
        llm_model n { quant q8_0; weights a; } llm_model o { quant none; weights a; tool_format hermes; } llm_model p { quant fp8; weights a; }',
        'location /v1/ { llm_pass; }'],
    ['llm_engine a { } llm_engine b { socket unix:/b; }
        llm_model m { engine b; weights a; }', 'location /v1/ { llm_pass engine=b; }
        location /m/ { llm_pass m; } location /metrics { llm_metrics a; }'],
    ["llm_engine local { submit_ring 64k; complete_ring 2m; queue 10; }" . $model,
        'location /v1/ { llm_pass; llm_buffer_size 4k; }'],
    [$model . $engine, 'location /v1/ { llm_pass; }'],
    [$engine . $model . 'llm_connect_timeout 1s; llm_queue_timeout 1m; llm_first_token_timeout 1m;
        llm_request_timeout 1h; llm_stall_timeout 10s; llm_ping_interval 5s; llm_buffer_size 128k;
        llm_ignore_client_abort on; llm_intercept_errors on; llm_tenant $remote_user;
        llm_cache_salt "a$host"; llm_cors https://a.example same;',
        'location /v1/ { llm_pass; } location /h { llm_health; } location /r { llm_health ready; }
        location /l { llm_health live; } location /m { llm_metrics; }'],
    [$engine . $model, 'location /v1/ { if ($arg_x) { llm_pass; } limit_except GET { llm_pass; } }'],
);

for (@good) {
    my ($rc, $out) = check(@$_);
    (my $name = substr "$_->[0] $_->[1]", 0, 60) =~ s/\s+/ /g;
    is($rc, 0, "right: $name") or diag($out);
}

# in http { }
my @http = (
    ['llm_engine { }', 'number of arguments'],
    ['llm_engine a b { }', 'number of arguments'],
    ['llm_engine a;', 'opening "\{"|no opening'],
    ['llm_engine a { sock unix:/x; }', 'sock'],
    ['llm_engine a { socket /x; }', 'unix:|/x'],
    ['llm_engine a { socket unix:; }', 'unix:'],
    ['llm_engine a { socket unix:' . '/x' x 60 . '; }', 'too long|unix:'],
    ['llm_engine a { socket unix:/x; socket unix:/y; }', 'duplicate'],
    ['llm_engine a { submit_ring 100k; }', 'power of two|submit_ring'],
    ['llm_engine a { submit_ring 32k; }', 'submit_ring|64k'],
    ['llm_engine a { complete_ring 4g; }', 'complete_ring|invalid'],
    ['llm_engine a { queue x; }', 'invalid|queue'],
    ['llm_engine a { } llm_engine a { }', 'duplicate|"a"'],
    ['llm_engine a { } llm_engine b { }', 'socket'],
    [$engine . 'llm_model { weights a; }', 'number of arguments'],
    [$engine . 'llm_model m { }', 'weights'],
    [$engine . 'llm_model m { weights a; weights b; }', 'duplicate'],
    [$engine . 'llm_model m { weights a; context x; }', 'context|invalid'],
    [$engine . 'llm_model m { weights a; engine nowhere; }', 'nowhere'],
    [$engine . 'llm_model m { weights a; quant q3_k; }', 'quant.*q4_k'],
    [$engine . 'llm_model m { weights a; quant none; quant q8_0; }', 'duplicate'],
    [$engine . 'llm_model m { weights a; quant; }', 'number of arguments'],
    [$engine . 'llm_model m { weights a; tool_format hermes; tool_format auto; }', 'duplicate'],
    [$engine . 'llm_model m { weights a; tool_format a"b; }', 'a"b'],
    [$engine . 'llm_model m { weights a; colour red; }', 'colour'],
    [$engine . 'llm_model m { weights a; } llm_model m { weights b; }', 'duplicate|"m"'],
    [$engine . 'llm_model m { weights a; names x; } llm_model x { weights b; }', '"x"'],
    [$engine . 'llm_model m { weights a; names x x; }', 'twice'],
    ['llm_model m { weights a; }', 'engine'],
    ['llm_engine a { } llm_engine b { socket unix:/b; } llm_model m { weights a; }', 'engine'],
    [$engine . 'llm_pass;', 'not allowed here'],
    [$engine . 'llm_ping_interval never;', 'invalid value|never'],
    [$engine . 'llm_buffer_size 1k;', 'llm_buffer_size|4k|4096'],
    [$engine . 'llm_ignore_client_abort maybe;', 'maybe|invalid value'],
    [$engine . 'llm_cors ftp//x;', 'ftp//x'],
    [$engine . 'llm_cors https://a.example/path;', 'a\.example/path'],
    [$engine . 'llm_cors * https://a.example;', 'llm_cors'],
    [$engine . 'llm_cors;', 'number of arguments'],
);

# in server { }
my @server = (
    ['location /v1/ { llm_pass nothing; }', 'nothing'],
    ['location /v1/ { llm_pass engine=nothing; }', 'nothing'],
    ['location /v1/ { llm_pass m m; }', 'number of arguments'],
    ['location /v1/ { llm_pass; llm_pass; }', 'duplicate'],
    ['location /v1/ { llm_pass; llm_health; }', 'duplicate|llm_'],
    ['location /h { llm_health maybe; }', 'maybe'],
    ['location /m { llm_metrics nowhere; }', 'nowhere'],
    ['llm_pass;', 'not allowed here'],
    ['llm_engine e { }', 'not allowed here'],
    ['location /v1/ { llm_model x { weights y; } }', 'not allowed here'],
    ['location /v1/ { llm_stall_timeout 1s; }', 'not allowed here'],
);

sub mistake {
    my ($text, $re, $http, $server) = @_;
    my ($rc, $out, $http_at, $server_at) = check($http, $server);
    my $at = $text eq $http ? $http_at : $server_at;
    (my $name = substr $text, 0, 70) =~ s/%%.*?%%/.../g;
    isnt($rc, 0, "wrong: $name");
    like($out, qr/\[emerg\].*(?:$re).*nginx\.conf:$at\b/, "wrong: $name: says what and where");
}

mistake(@$_, $_->[0], '') for @http;
mistake(@$_, $engine . $model, $_->[0]) for @server;

# two engines and nothing to choose by

mistake('location /v1/ { llm_pass; }', 'engine', 'llm_engine a { } llm_engine b { socket unix:/b; }',
    'location /v1/ { llm_pass; }');
mistake('location /m { llm_metrics; }', 'engine', 'llm_engine a { } llm_engine b { socket unix:/b; }',
    'location /m { llm_metrics; }');
mistake('location /v1/ { llm_pass; }', 'engine', '', 'location /v1/ { llm_pass; }');

# what is allowed but hardly meant

$t->conf_raw("%%GLOBALS%%events { }\nhttp {\n%%HTTP%%\n$engine $model\n"
    . "server { listen 127.0.0.1:%%PORT_0%%; location /v1/ { llm_pass; } }\n}\n");
my ($rc, $out) = $t->nginx_t;
is($rc, 0, 'no client_max_body_size: passes');
like($out, qr/\[warn\].*client_max_body_size/, 'no client_max_body_size: a warning');

$t->conf_raw("%%GLOBALS%%events { }\nhttp {\n%%HTTP%%\n$engine $model client_max_body_size 32m;\n"
    . "limit_req_zone \$host zone=z:1m rate=1r/s;\n"
    . "server { listen 127.0.0.1:%%PORT_0%%; location /v1/ { llm_pass; limit_req zone=z; } }\n}\n");
($rc, $out) = $t->nginx_t;
is($rc, 0, 'no limit_req_status: passes');
like($out, qr/\[warn\].*limit_req_status/, 'no limit_req_status: a warning');

$t->{allow} = [qr/\[emerg\]/];
$t->done;
