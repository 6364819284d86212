#!/usr/bin/perl

# Reload, quit, kill: old workers finish their streams and nothing else keeps
# them alive; nothing is left open.

use strict;
use warnings;
use lib 't/lib';
use LLMTest;
use Test::More;

# Pings and limits are off: nothing but the request itself may keep a worker.
my %conf = (location => 'llm_ping_interval 0;', workers => 2, http => <<'EOC');
    proxy_cache_path cache levels=1 keys_zone=c:1m;
EOC
my $t = LLMTest->new->conf(%conf);
$t->engine->run;

sub streams {
    my ($n, $word) = @_;
    my $from = $t->engine_count(qr/for=$word$/);
    my @c = map { $t->stream(sse(['events', 2, 0], ['wait', $word], ['events', 2, 0])) } 1 .. $n;
    for (@c) {
        $_->event;
        $_->event;
    }
    $t->engine_log(qr/for=$word$/, n => $from + $n);
    return @c;
}

# two workers; the cache's processes are none of the engine's business

my @w = $t->workers;
is(scalar @w, 2, 'two workers');
ok(wait_for(sub { grep { $_->[1] =~ /cache manager/ } $t->children }), 'a cache manager runs');
my %pids = map { LLMTest::stats($_)->{pid} => 1 }
    grep { / hello pid/ } split /\n/, LLMTest::slurp($t->{engine}{log});
is_deeply([sort keys %pids], [sort @w], 'only workers connect');
my @c = streams(8, 'both');
$t->go('both');
is(scalar(grep { $_->events == 3 } @c), 8, 'streams in both of them');

# the manifest

my ($json) = $t->engine_log(qr/manifest/) =~ /(\{.*\})/;
my $manifest = JSON::PP::decode_json($json);
is_deeply($manifest->{models}[0]{names}, ['default'], 'manifest: names');
is($manifest->{models}[0]{name}, 'smollm2', 'manifest: name');
is($manifest->{models}[0]{weights}, 'a.gguf', 'manifest: weights');

# reload with streams: they end in the old workers, new ones are there at once

@c = streams(6, 'reload');
$t->conf(%conf, model => 'llm_model smollm2 { engine local; weights a.gguf; }
    llm_model second { engine local; weights sub/b.gguf; context 2k; names two zwei;
        quant q4_k; tool_format hermes; }');
my @old = $t->reload;
($json) = $t->engine_log(qr/manifest.*second/) =~ /(\{.*\})/;
$manifest = JSON::PP::decode_json($json);
is($manifest->{models}[1]{context}, 2048, 'reload: the new manifest');
is_deeply($manifest->{models}[1]{names}, ['two', 'zwei'], 'reload: its names');
is_deeply($manifest->{models}[1]{options}, { quant => 'q4_k', tool_format => 'hermes' }, 'reload: its options');
is_deeply($manifest->{models}[0]{options}, {}, 'reload: the first one has none');
is($t->post('/v1/chat/completions', chat(sse()))->{status}, 200, 'reload: new workers answer');
is($c[0]->event(0.3), undef, 'reload: old streams wait');
is(scalar(grep { kill 0, $_ } @old) > 0, 1, 'reload: their workers, too');
$t->go('reload');
is(scalar(grep { $_->events == 3 && $_->{done} } @c), 6, 'reload: old streams are whole');
ok($t->gone($_), 'reload: an old worker goes then') for @old;

# reload of idle workers: no timer of ours holds them

@old = $t->reload;
ok($t->gone($_, 3), 'reload: an idle worker goes at once') for @old;
$t->engine_stop;
wait_for { $t->get('/readyz')->{status} == 503 };
my @now = $t->workers;
$t->signal('HUP');
ok($t->gone($_, 3), 'reload: without an engine, too') for @now;
$t->engine->connected;

# requests that wait: for the engine, for admission, and not streamed

my $c = $t->request('POST', '/v1/chat/completions', body => chat([['wait', 'admit'], ['admit', {}],
    ['head', 200, 'json'], ['data', '{}'], ['end', {}]], stream => JSON::PP::false));
$t->engine_log(qr/for=admit/);
@old = $t->reload;
$t->go('admit');
is($c->response->{status}, 200, 'reload: a request in the queue is answered');
ok($t->gone($_), 'reload: then its worker goes') for @old;

# a storm of them

@c = streams(4, 'storm');
my $hello = $t->engine_count(qr/ hello /);
for (1 .. 6) {
    $t->signal('HUP');
    $t->engine_log(qr/ hello /, n => $hello + 2 * $_, timeout => 2);
}
$t->go('storm');
is(scalar(grep { $_->events == 3 && $_->{done} } @c), 4, 'six reloads: the streams are whole');
ok(wait_for(sub { grep({ $_->[1] =~ /worker process/ } $t->children) == 2 }), 'six reloads: two workers');
$t->connected;

# a broken configuration changes nothing

$t->conf(%conf, model => 'llm_model broken { engine nowhere; weights a.gguf; }');
@now = $t->workers;
$t->signal('HUP');
ok(wait_for(sub { $t->error_log =~ /\[emerg\].*nowhere/ }), 'broken configuration: in the log');
$t->allow(qr/\[emerg\].*nowhere/);
is_deeply([$t->workers], \@now, 'broken configuration: the workers stay');
is($t->post('/v1/chat/completions', chat(sse()))->{status}, 200, 'broken configuration: all works');
$t->conf(%conf);

# a worker is killed: its requests are cancelled, the next one connects

@c = streams(4, 'kill');
kill 'KILL', @now;
$t->allow(qr/exited on signal 9/);
ok($t->engine_log(qr/closed pid=$_ why='peer'/), 'killed: the engine sees it') for @now;
is(scalar(grep { $_->closed } @c), 4, 'killed: the clients see it');
wait_for { my @w = $t->workers; @w == 2 && !grep { $_ == $now[0] || $_ == $now[1] } @w };
$t->connected;
is($t->post('/v1/chat/completions', chat(sse()))->{status}, 200, 'killed: the next ones work');

# quit waits for streams

@c = streams(3, 'quit');
$t->signal('QUIT');
wait_for { !IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $t->port) };
is($c[0]->event(0.2), undef, 'quit: streams wait');
$t->go('quit');
is(scalar(grep { $_->events == 3 && $_->{done} } @c), 3, 'quit: streams are whole');
is($t->reap($t->{nginx}), 0, 'quit: ends in order');
$t->{nginx} = undef;

# fast shutdown with streams

$t->run;
@c = streams(3, 'term');
$t->signal('TERM');
is($t->reap($t->{nginx}), 0, 'fast shutdown: ends in order');
$t->{nginx} = undef;
is(scalar(grep { $_->closed } @c), 3, 'fast shutdown: streams are cut');

# worker_shutdown_timeout

$t->conf(%conf, main => 'worker_shutdown_timeout 500ms;',
    format => q{'aborted=$llm_aborted'});
$t->run;
@c = streams(2, 'shutdown');
my $d = $t->request('POST', '/v1/chat/completions', body => chat([['wait', 'never']],
    stream => JSON::PP::false));
$t->engine_log(qr/for=never/);
@old = $t->reload;
ok($t->gone($_), 'worker_shutdown_timeout: the old worker goes') for @old;
my @e = $c[0]->events;
like($e[-1] || '', qr/data: \{"error":\{.*shutting_down/, 'worker_shutdown_timeout: error event');
my $r = $d->response;
is($r->{status}, 503, 'worker_shutdown_timeout: 503 for what has not begun');
like($t->access_log(qr/aborted=shutdown/), qr/aborted=shutdown/, 'worker_shutdown_timeout: access log');

$t->done;
