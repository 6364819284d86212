#!/usr/bin/perl

# The configurations of conf.d: each passes `nginx -t` without a warning and
# does what its comments say. Only paths and ports are this test's.

use strict;
use warnings;
use lib 't/lib';
use LLMTest;
use Test::More;

sub conf {
    my ($t, $file) = @_;
    my $c = do { local (@ARGV, $/) = $file; <> };
    my $d = $t->dir;
    $c =~ s{^load_module .*}{%%GLOBALS%%}m;
    $c =~ s{^worker_processes .*}{worker_processes 1;}m;
    $c =~ s{^pid .*}{}m;
    $c =~ s{logs/error.log notice}{error.log info};
    $c =~ s{logs/access.log}{access.log}g;
    $c =~ s{unix:/run/ngx-llm/engine.sock}{unix:%%SOCK%%};
    $c =~ s{127\.0\.0\.1:8080}{127.0.0.1:%%PORT_0%%};
    $c =~ s{listen 443}{listen 127.0.0.1:%%PORT_0%%};
    $c =~ s{/etc/ssl/\w+/llm.example.com}{$d/cert}g;
    $c =~ s{http \{\n}{http \{\n    client_body_temp_path tmp/b; proxy_temp_path tmp/p; fastcgi_temp_path tmp/f; uwsgi_temp_path tmp/u; scgi_temp_path tmp/s;\n};
    return $t->conf_raw($c);
}

my @files = glob 'conf.d/*.conf';
cmp_ok(scalar(@files), '>=', 2, 'there are some');

for my $file (@files) {
    my $t = LLMTest->new;
    system("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
        . "-keyout @{[$t->dir]}/cert.key -out @{[$t->dir]}/cert.pem 2>/dev/null") == 0
        or die 'openssl';
    conf($t, $file);
    my ($rc, $out) = $t->nginx_t;
    is($rc, 0, "$file: nginx -t") or diag($out);
    unlike($out, qr/\[warn\]/, '... without a warning');
}

my $t = LLMTest->new;
system("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
    . "-keyout @{[$t->dir]}/cert.key -out @{[$t->dir]}/cert.pem 2>/dev/null");
conf($t, 'conf.d/gateway.conf');
$t->engine->run;
my $url = 'https://127.0.0.1:' . $t->port;
my @key = ('-H', 'Authorization: Bearer sk-change-me-1');

sub ask { return scalar $t->curl('-k', '-i', '--http2', @_, "$url/v1/chat/completions",
    '-d', chat(sse(['data', "data: {\"x\":1}\n\n", {}]))) }

my $r = ask();
like($r, qr{^HTTP/2 401\b.*"type":"authentication_error"}s, 'no key: 401 as JSON');
$r = ask(@key);
like($r, qr{^HTTP/2 200\b.*data: \{"x":1\}\n\ndata: \[DONE\]\n\n}s, 'a key: a stream over TLS and HTTP/2');
like($t->engine_log(qr/submit .*tenant='?alice/) || '', qr/alice/, 'for its tenant');
like($t->access_log(qr/alice/), qr/ alice .* in=\d+ .* finish=/, 'the log says what it cost');
$r = $t->curl('-k', '-i', '-X', 'OPTIONS', '-H', 'Origin: https://app.example.com',
    '-H', 'Access-Control-Request-Method: POST', '-H', 'Access-Control-Request-Headers: authorization',
    "$url/v1/chat/completions");
like($r, qr{^HTTP/\S+ 204\b.*access-control-allow-origin: https://app.example.com}si,
    'a preflight needs no key');
my $limited = 0;
for (1 .. 60) {
    $r = $t->curl('-k', '-i', @key, "$url/v1/models/x") or last;
    $limited++, last if $r =~ m{^HTTP/\S+ 429\b.*"code":"rate_limit_exceeded"}s;
}
ok($limited, 'too many requests: 429 as JSON');
$t->done;
