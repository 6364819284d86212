#!/usr/bin/perl

# HTTP/2 and TLS: streams, big bodies, RST_STREAM of one stream among others,
# connections that go.

use strict;
use warnings;
use lib 't/lib';
use LLMTest;
use Test::More;

my $t = LLMTest->new;
plan(skip_all => 'no curl with HTTP/2') unless `curl --version 2>/dev/null` =~ /HTTP2/;
plan(skip_all => 'NGINX without HTTP/2') unless $t->{version} =~ /http_v2_module/;

my ($minor) = $t->{version} =~ m{nginx/1\.(\d+)};
my ($flag, $line) = $minor >= 25 ? ('', 'http2 on;') : (' http2', '');
my $cert = system('openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes '
    . "-keyout $t->{dir}/key.pem -out $t->{dir}/cert.pem -days 2 -subj /CN=localhost "
    . '> /dev/null 2>&1') == 0;
my $tls = $cert ? <<"EOC" : '';
    server {
        listen 127.0.0.1:%%PORT_2%% ssl$flag;
        $line
        ssl_certificate %%DIR%%/cert.pem;
        ssl_certificate_key %%DIR%%/key.pem;
        location /v1/ { llm_pass; }
    }
EOC
$t->conf(http => <<"EOC" . $tls);
    server {
        listen 127.0.0.1:%%PORT_1%%$flag;
        $line
        location /v1/ { llm_pass; }
    }
EOC
$t->engine->run;

my $url = 'http://127.0.0.1:' . $t->port(1) . '/v1';
my @h2 = ('--http2-prior-knowledge');
my $script = sse(['events', 20, 5]);
$t->write('stream.json', chat($script));
$t->write('big.json', chat($script, fill => 'f' x 5_000_000));

sub events { return scalar(() = $_[0] =~ /^data: /mg) }

my $out = $t->curl(@h2, '-N', '-i', '-d', "\@$t->{dir}/stream.json", "$url/chat/completions");
like($out, qr/^HTTP\/2 200/, 'h2: stream');
like($out, qr/^x-accel-buffering: no\r$/m, 'h2: headers');
unlike($out, qr/^(?:connection|transfer-encoding|keep-alive):/mi, 'h2: none that HTTP/2 forbids');
is(events($out), 21, 'h2: all events');

$out = $t->curl(@h2, '-N', '-d', "\@$t->{dir}/big.json", "$url/chat/completions");
is(events($out), 21, 'h2: a body of 5 MB');
is($t->engine_count(qr/ body .* len=500\d{4} /), 1, 'h2: arrives whole');

$out = $t->curl(@h2, '-I', "$url/models");
like($out, qr/^HTTP\/2 200/, 'h2: HEAD');
$out = $t->curl(@h2, '-i', '-d', '{}', "$url/nothing");
like($out, qr/^HTTP\/2 404.*unknown_url/s, 'h2: error');
like($out, qr/^content-type: application\/json\r$/m, 'h2: error is JSON');

# frames by hand: two streams, RST_STREAM of one of them

my $frame = sub {
    my ($type, $flags, $id, $payload) = @_;
    return substr(pack('N', length $payload), 1) . pack('CCN', $type, $flags, $id) . $payload;
};
my $literal = sub {
    return join '', map { "\0" . pack('C/a C/a', @$_) } @_;
};
my $open = sub {
    my ($id, $body) = @_;
    return $frame->(1, 4, $id, $literal->([':method', 'POST'], [':scheme', 'http'],
            [':path', '/v1/chat/completions'], [':authority', 'localhost']))
        . $frame->(0, 1, $id, $body);
};
my $c = $t->client(port => $t->port(1));
$c->send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" . $frame->(4, 0, 0, '')
    . $open->(1, chat(sse(['events', 3, 0], ['wait', 'never'])))
    . $open->(3, chat(sse(['events', 3, 0], ['wait', 'two'], ['events', 3, 0]))));
$t->engine_log(qr/for=never/);
$t->engine_log(qr/for=two/);
my $gone = LLMTest::stats($t->engine_log(qr/for=never/))->{slot};
$c->send($frame->(3, 0, 1, pack 'N', 8));
my $cancel = LLMTest::stats($t->engine_log(qr/ cancel /));
is($cancel->{slot}, $gone, 'h2: RST_STREAM cancels its request');
is($cancel->{phase}, 'decode', 'h2: while it is decoded');
$t->go('two');
wait_for { $c->more(0.1); $c->{in} =~ /\[DONE\]/ };
like($c->{in}, qr/"n":5.*\[DONE\]/s, 'h2: the other stream goes on');
is($t->engine_count(qr/ cancel /), 1, 'h2: and is not cancelled');

# the whole connection goes

$c->send($open->(5, chat(sse(['events', 1, 0], ['wait', 'never5'])))
    . $open->(7, chat(sse(['events', 1, 0], ['wait', 'never7']))));
$t->engine_log(qr/for=never5/);
$t->engine_log(qr/for=never7/);
$c->close;
ok($t->engine_log(qr/ cancel /, n => 3), 'h2: the end of the connection cancels all');

# flow control: a window that is not opened holds only its own stream

$c = $t->client(port => $t->port(1));
$c->send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" . $frame->(4, 0, 0, pack 'nN', 4, 2000)
    . $open->(1, chat(sse(['events', 2000, 0, { size => 400 }]))));
my $slot = LLMTest::stats($t->engine_log(qr/ submit .*body_len=/, n => $t->engine_count(qr/ submit /)));
is(events(scalar $t->curl(@h2, '-N', '-d', "\@$t->{dir}/stream.json", "$url/chat/completions")), 21,
    'h2: a closed window holds nobody else up');
$c->close;
ok($t->engine_log(qr/ cancel /, n => 4), 'h2: and is cancelled when it goes');

SKIP: {
    skip 'no openssl', 5 unless $cert;

    $url = 'https://127.0.0.1:' . $t->port(2) . '/v1';
    $out = $t->curl('-k', '--http1.1', '-N', '-i', '-d', "\@$t->{dir}/stream.json",
        "$url/chat/completions");
    like($out, qr/^HTTP\/1.1 200/, 'TLS: stream');
    is(events($out), 21, 'TLS: all events');
    $out = $t->curl('-k', '--http2', '-N', '-i', '-d', "\@$t->{dir}/big.json",
        "$url/chat/completions");
    like($out, qr/^HTTP\/2 200/, 'TLS: HTTP/2');
    is(events($out), 21, 'TLS: a body of 5 MB');

    $t->write('hang.json', chat(sse(['events', 2, 0], ['wait', 'tls'])));
    my $pid = open my $p, '-|', 'curl', '-sSNk', '--http1.1', '-d', "\@$t->{dir}/hang.json",
        "$url/chat/completions";
    $t->engine_log(qr/for=tls/);
    <$p>;
    kill 'KILL', $pid;
    close $p;
    ok($t->engine_log(qr/ cancel /, n => 5), 'TLS: a client that goes is cancelled');
}

$t->done;
