#!/usr/bin/perl

# No engine, one that is late, one that refuses, one whose models load: NGINX
# is up, requests wait for a bounded time.

use strict;
use warnings;
use lib 't/lib';
use LLMTest;
use Test::More;
use Time::HiRes qw(time);

my $t = LLMTest->new->conf(location => 'llm_connect_timeout 500ms;', server => <<'EOC');
        location /now/ { llm_pass; llm_connect_timeout 0; }
        location /long/ { llm_pass; llm_connect_timeout 15s; }
        location /forced/ { llm_pass smollm2; llm_connect_timeout 15s; }
EOC
$t->run;

my $plain = chat(undef, stream => JSON::PP::false);

sub away {
    my ($name, $code) = @_;
    my $r = $t->post('/v1/chat/completions', $plain);
    is($r->{status}, 503, "$name: 503");
    is($r->{error}{type}, 'service_unavailable_error', "$name: type");
    is($r->{error}{code}, $code, "$name: code");
    like($r->{headers}{'retry-after'} || '', qr/^[1-9]\d*$/, "$name: Retry-After");
    like($r->{headers}{'retry-after-ms'} || '', qr/^\d+$/, "$name: retry-after-ms");
}

sub up {
    my ($name) = @_;
    wait_for { $t->get('/readyz')->{status} == 200 };
    is($t->post('/now/chat/completions', $plain)->{status}, 200, "$name: works");
}

# no engine

is($t->get('/plain')->{body}, "plain\n", 'no engine: other locations work');
is($t->get('/livez')->{status}, 200, 'no engine: NGINX is alive');
my $start = time;
away('no engine', 'engine_unavailable');
my $took = time - $start;
cmp_ok($took, '>', 0.4, 'no engine: it was waited for');
cmp_ok($took, '<', 5, 'no engine: not for long');
is($t->post('/now/chat/completions', $plain)->{status}, 503, 'llm_connect_timeout 0');
is($t->get('/v1/models')->{status}, 503, 'no engine: models');
is($t->get('/v1/nothing')->{status}, 404, 'no engine: an unknown path is 404 at once');

# it comes while requests wait

my @c = map { $t->request('POST', '/long/chat/completions', body => $plain) } 1 .. 5;
my $gone = $t->request('POST', '/long/chat/completions', body => $plain);
is($t->get('/livez')->{status}, 200, 'requests wait');
$gone->close;
$t->engine;
is(scalar(grep { $_->response->{status} == 200 } @c), 5, 'the engine comes: they are answered');
is($t->engine_count(qr/ submit /), 5, 'and the one that went is not submitted');
up('the engine comes');
is($t->engine_stop, 0, 'it goes');

# one that is slow to answer HELLO, one that never does, some that refuse

$t->engine('--hello-delay', 300);
up('HELLO after 300 ms');
$t->engine_stop;

$t->engine('--hello-silent');
ok($t->engine_log(qr/accept n=1/), 'no HELLO: a connection');
away('no HELLO', 'engine_unavailable');
ok($t->engine_log(qr/accept n=2/), 'no HELLO: given up after a second');
$t->engine_stop;

# one that answers HELLO and dies, both of which the worker sees at once

my ($worker) = $t->workers;
$t->engine('--hello-delay', 300, '--hello-die');
$t->engine_log(qr/accept n=1/);
kill 'STOP', $worker;
$t->engine_gone;
kill 'CONT', $worker;
$t->engine;
ok($t->engine_log(qr/manifest/), 'HELLO and death: the worker comes again');
up('HELLO and death');
$t->engine_stop;

for my $why (qw(version region full)) {
    $t->engine('--hello-refuse', $why);
    ok($t->engine_log(qr/refused $why/), "refused ($why)");
    away("refused ($why)", 'engine_unavailable');
    $t->engine_stop;
}
like($t->error_log, qr/\[error\].*llm.*version/, 'the log says why');

# models that load, have failed, are nowhere

$t->engine('--loading', 600);
my $r = $t->post('/long/chat/completions', $plain);
is($r->{status}, 200, 'loading: waits');
$t->engine_stop;

$t->engine('--loading', 100_000);
$t->engine_log(qr/manifest/);
away('loading for long', 'model_loading');
my $c = $t->request('POST', '/forced/chat/completions', body => $plain);
is($t->get('/livez')->{status}, 200, 'loading, forced model: waits');
$t->tell('state ready');
is($c->response->{status}, 200, 'loading, forced model: answered');
$t->engine_stop;

$t->engine('--failed', 'smollm2');
wait_for { $t->get('/readyz')->{body} =~ /failed/ };
is($t->post('/now/chat/completions', $plain)->{status}, 200,
    'failed: not waited for, the engine says what it has to say');
$t->engine_stop;

$t->engine('--no-state');
$t->engine_log(qr/manifest/);
away('no MODEL_STATE', 'model_loading');
$t->engine_stop;

# a file in the place of the socket, then the real thing again

$t->write('engine.sock', 'no socket');
away('a file in its place', 'engine_unavailable');
unlink "$t->{dir}/engine.sock";
$t->engine;
up('all is well again');
$t->{fds} = {};

$t->done;
