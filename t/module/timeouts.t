#!/usr/bin/perl

# The limits of a request's time: in the queue, to the first token, in all.

use strict;
use warnings;
use lib 't/lib';
use LLMTest;
use Test::More;

my $t = LLMTest->new->conf(format => q{'aborted=$llm_aborted error=$llm_error_type'}, server => <<'EOC');
        location /queue/ { llm_pass; llm_queue_timeout 300ms; }
        location /first/ { llm_pass; llm_first_token_timeout 300ms; }
        location /all/ { llm_pass; llm_request_timeout 400ms; }
        location /wide/ { llm_pass; llm_queue_timeout 11s; llm_first_token_timeout 12s;
                          llm_request_timeout 13s; }
EOC
$t->engine->run;

my $n = 0;

sub run_it {
    my ($uri, $script, %members) = @_;
    my $c = $t->stream($script, uri => "/$uri/chat/completions", members => \%members);
    my $r = $c->response;
    return ($r, LLMTest::stats($t->engine_log(qr/ cancel /, n => ++$n)));
}

$t->stream(sse(), uri => '/wide/chat/completions')->events;
my $s = LLMTest::stats($t->engine_log(qr/ submit /));
is("$s->{queue_ms} $s->{first_ms} $s->{request_ms}", '11000 12000 13000', 'SUBMIT has them');
$t->stream(sse())->events;
$s = LLMTest::stats($t->engine_log(qr/ submit /, n => 2));
is("$s->{queue_ms} $s->{first_ms} $s->{request_ms}", '0 0 0', 'by default there is none');

# in the queue

my ($r, $cancel) = run_it('queue', [['wait', 'no']]);
is($r->{status}, 503, 'queue: 503');
is($r->{error}{code}, 'server_is_overloaded', 'queue: code');
like($r->{headers}{'retry-after'} || '', qr/^[1-9]/, 'queue: Retry-After');
is($cancel->{phase}, 'queue', 'queue: cancelled');

$r = $t->stream(sse(['delay', 600], ['events', 1, 0]), uri => '/queue/chat/completions')->response;
is(scalar(() = $r->{body} =~ /^data: /mg), 2, 'queue: no matter once it is admitted');

# to the first token

($r, $cancel) = run_it('first', [['admit', { stream => 0 }], ['wait', 'no']], stream => JSON::PP::false);
is($r->{status}, 504, 'first token: 504');
is($r->{error}{type}, 'timeout', 'first token: type');
is($r->{error}{code}, 'first_token_timeout', 'first token: code');
is($cancel->{phase}, 'prefill', 'first token: cancelled');

($r) = run_it('first', [['admit', {}], ['head', 200, 'sse'], ['wait', 'no']]);
is($r->{status}, 200, 'first token behind the head: 200');
like($r->{body}, qr/^data: \{"error":\{.*"first_token_timeout".*\}\}\n\n$/m,
    'first token behind the head: error event');
ok($r->{whole}, 'first token behind the head: a regular end');

$r = $t->stream(sse(['events', 1, 0], ['delay', 600]), uri => '/first/chat/completions')->response;
like($r->{body}, qr/DONE/, 'first token: no matter once it is there');

# in all

($r) = run_it('all', [['wait', 'no']]);
is($r->{status}, 504, 'request: 504');
is($r->{error}{code}, 'request_timeout', 'request: code');

($r, $cancel) = run_it('all', sse(['events', 1000, 20]));
is($r->{status}, 200, 'request, in a stream: 200');
like($r->{body}, qr/"n":1.*data: \{"error":\{.*"request_timeout".*\}\}\n\n$/s,
    'request, in a stream: error event');
ok($r->{whole}, 'request, in a stream: a regular end');
unlike($r->{body}, qr/DONE/, 'request, in a stream: no [DONE]');
is($cancel->{phase}, 'decode', 'request, in a stream: cancelled');

($r) = run_it('all', [['admit', {}], ['head', 200, 'json'], ['data', '{'], ['wait', 'no']],
    stream => JSON::PP::false);
is($r->{status}, 504, 'request, not a stream: 504');

like($t->access_log(qr/aborted=timeout/), qr/aborted=timeout error=timeout/, 'in the access log');

# the engine's own limits

$r = $t->post('/v1/chat/completions', chat([['admit', {}], ['head', 504, 'json'],
    ['data', '{"error":{"message":"t","type":"timeout","param":null,"code":null}}'],
    ['end', { outcome => 'timeout', error => 'timeout' }]]));
is($r->{status}, 504, "the engine's own");

$t->done;
