#!/usr/bin/perl

# llm_health and llm_metrics: with an engine, without one, while models load.

use strict;
use warnings;
use lib 't/lib';
use LLMTest;
use Test::More;

my $t = LLMTest->new->conf(workers => 2, location => 'llm_connect_timeout 0;');
$t->run;

sub ready {
    my ($what) = @_;
    my $r;
    wait_for { $r = $t->get('/readyz'); $r->{body} =~ $what };
    return $r;
}

my $r = $t->get('/livez');
is($r->{status}, 200, 'live without an engine');
is($r->{json}{status}, 'ok', 'live: ok');
is($r->{headers}{'content-type'}, 'application/json', 'live: JSON');

$r = $t->get('/readyz');
is($r->{status}, 503, 'not ready without an engine');
is($r->{json}{status}, 'unavailable', 'unavailable');
is($r->{error}{code}, 'engine_unavailable', 'its code');
is($r->{error}{type}, 'service_unavailable_error', 'its type');
ok($r->{headers}{'retry-after'}, 'its Retry-After');
ok(!$r->{json}{engines}[0]{up}, 'the engine is not up');
is($r->{json}{models}[0]{state}, 'unknown', 'nothing is known of the model');

$r = $t->get('/metrics');
is($r->{status}, 200, 'metrics without an engine');
like($r->{headers}{'content-type'}, qr{^text/plain; version=0\.0\.4}, 'metrics: their type');
like($r->{body}, qr/^ngx_llm_engine_up\{engine="local"\} 0$/m, 'metrics: the engine is not up');

$t->engine('--loading', 100_000)->connected;
$r = ready(qr/"loading"/);
is($r->{status}, 503, 'not ready while the model loads');
is($r->{json}{status}, 'loading', 'loading');
is($r->{error}{code}, 'model_loading', 'its code');
is($r->{json}{models}[0]{progress}, 0.37, 'its progress');
ok($r->{json}{engines}[0]{up}, 'the engine is up');
$t->tell('state failed');
$r = ready(qr/"failed"/);
is($r->{status}, 503, 'not ready when the model has failed');
is($r->{error}{code}, 'model_failed', 'its code');
is($r->{json}{models}[0]{error}, 'broken', 'its error');
$t->tell('state ready');
wait_for { !grep { $t->get('/readyz')->{status} != 200 } 1 .. 4 };
$r = $t->get('/readyz');
is($r->{status}, 200, 'ready');
is($r->{json}{status}, 'ok', 'ok');
is($r->{json}{models}[0]{name}, 'smollm2', 'the model');
is($r->{json}{models}[0]{state}, 'ready', 'is ready');
is($t->request('HEAD', '/readyz')->response->{status}, 200, 'HEAD');
is($t->request('HEAD', '/livez')->response->{body}, '', 'HEAD has no body');
is($t->post('/livez', 'x')->{status}, 405, 'POST');

# counters: of both workers together

$t->stream(sse(['events', 1, 0]))->events for 1 .. 10;
$t->post('/v1/nothing', '{}');
my $c = $t->stream(sse(['events', 1, 0], ['wait', 'metrics']));
$c->event;
$t->engine_log(qr/for=metrics/);
$r = $t->get('/metrics');
is($r->{status}, 200, 'metrics');
like($r->{body}, qr/^ngx_llm_engine_up\{engine="local"\} 1$/m, 'metrics: the engine is up');
like($r->{body}, qr/^ngx_llm_requests_total\{api="chat",status="200"\} 10$/m, 'metrics: requests');
like($r->{body}, qr/^fake_engine_up 1$/m, "metrics: the engine's own");
my @bad = grep { !/^(?:#|$)/ && !/^[a-z_:]+(?:\{[^}]*\})? [-+0-9.eE]+$/ } split /\n/, $r->{body};
is(join("\n", @bad), '', 'metrics: well formed');
my %type;
my @twice = grep { $type{$_}++ } $r->{body} =~ /^# TYPE (\S+)/mg;
is("@twice", '', 'metrics: each family once');
$c->close;
$t->engine_log(qr/ cancel /);
ok(wait_for(sub { $t->get('/metrics')->{body} =~ /^ngx_llm_aborted_total\{stage="decode"\} 1$/m }),
    'metrics: who went');

$t->engine_stop;
$r = ready(qr/"unavailable"/);
is($r->{status}, 503, 'the engine has gone');
like($t->get('/metrics')->{body}, qr/^ngx_llm_engine_deaths_total\S* [12]$/m, 'metrics: deaths');
$t->engine->connected;
wait_for { !grep { $t->get('/readyz')->{status} != 200 } 1 .. 4 };
is($t->get('/readyz')->{status}, 200, 'and has come again');

$t->done;
