#!/usr/bin/perl

# Event methods without edges: doorbell, sign of life and clients that go are
# seen there, too (where NGINX has them: the sanitizer build does). A single
# process, as in development, serves as well.

use strict;
use warnings;
use lib 't/lib';
use LLMTest;
use Test::More;

my $t = LLMTest->new;
$t->engine;

sub works {
    my ($name) = @_;
    my $r = $t->stream(sse(['events', 20, 2]))->response;
    is(scalar(() = $r->{body} =~ /^data: /mg), 21, "$name: a stream");
    is($t->post('/v1/chat/completions', chat(undef, fill => 'f' x 2_000_000))->{status}, 200,
        "$name: a big body");
    my $n = $t->engine_count(qr/ cancel /);
    my $c = $t->stream(sse(['events', 1, 0], ['wait', 'never']));
    $c->event;
    $c->close;
    ok($t->engine_log(qr/ cancel /, n => $n + 1), "$name: a client that goes");
    $c = $t->stream(sse(['events', 1, 0], ['wait', 'never']));
    $c->event;
    $t->engine_stop('KILL');
    like(join('', $c->events), qr/engine_lost/, "$name: an engine that dies");
    $t->engine;
    $r = $t->stream(sse(['events', 20, 2]))->response;
    is(scalar(() = $r->{body} =~ /^data: /mg), 21, "$name: and comes again");
}

for my $how (['poll', 'use poll;', ''], ['select', 'use select;', ''],
    ['master_process off', '', 'master_process off;'])
{
    my ($name, $events, $main) = @$how;
    next if $events && $t->{version} !~ /--with-${name}_module/;
    $t->conf(events => $events, main => $main, location => 'llm_connect_timeout 5s;');
    $t->run(unconnected => 1);
    works($name);
    $t->signal('QUIT');
    is($t->reap($t->{nginx}), 0, "$name: ends in order");
    $t->{nginx} = undef;
}

$t->done;
