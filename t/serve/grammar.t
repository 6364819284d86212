#!/usr/bin/perl

# Grammars on their way through the engine: compiled beside the fronts, once
# for all who want the same, under limits; whoever goes away meanwhile, and
# whatever ends.

use strict;
use warnings;
use lib 't/lib';
use JSON::PP ();
use LLMTest;
use LLMWhole;
use Test::More;

my $t = LLMWhole::start(engine => ['--grammar-time', 60000, '--mask-threads', 2]);

sub body {
    my (%o) = @_;
    return json({ model => 'default', prompt => 'The answer is',
        temperature => 1.5, max_tokens => 30, seed => 5, %o });
}

# Time enough for a sanitizer.
sub comp {
    return $t->request('POST', '/v1/completions', body => body(@_))->response(120);
}

sub metric {
    my ($name) = @_;
    my ($v) = $t->get('/metrics')->{body} =~ /^ngx_llm_$name\{\S+ (\S+)/m;
    return $v;
}

# Takes a second or so to compile, and is another one for each name.
sub slow {
    my ($name, $n) = @_;
    my %p = map { ("p$_" => { type => 'string', pattern => "^[a-z]{$_}[0-9]+\$" }) }
        1 .. 400;
    return guided_json => { oneOf => [map { { type => 'object',
        properties => { %p, $name => { const => $_ } }, required => [$name] } }
        1 .. $n || 20] };
}

# --- every choice of every prompt is of the language ---

my $re = '[a-z]{3,8}( [a-z]{2,9}){4}\.';
my $r = comp(guided_regex => $re, n => 3, temperature => 2, prompt => ['One', 'Two']);
is(scalar @{ $r->{json}{choices} }, 6, 'six choices');
like($_->{text}, qr/^$re$/, 'a choice') for @{ $r->{json}{choices} };
is($_->{finish_reason}, 'stop', 'it stops where nothing can come')
    for @{ $r->{json}{choices} };

my $again = comp(guided_regex => $re, n => 3, temperature => 2, prompt => ['One', 'Two']);
is_deeply($again->{json}{choices}, $r->{json}{choices}, 'the same again');
is(metric('grammars_total'), 1, 'compiled once');
is(metric('grammar_cache_hits_total'), 1, 'found the second time');

$r = comp(guided_regex => 'ab{30}c?', logprobs => 1, temperature => 0);
my $lp = $r->{json}{choices}[0]{logprobs};
like($r->{json}{choices}[0]{text}, qr/^ab{30}c?$/, 'forced tokens');
is(scalar @{ $lp->{tokens} }, $r->{json}{usage}{completion_tokens},
    'each has its logprob');
is(scalar(grep { !defined || $_ > 0 } @{ $lp->{token_logprobs} }), 0, 'a real one');
ok(metric('forced_tokens_total') > 0, 'some were forced');
ok(metric('masks_total') > 0, 'masks were made');

$r = comp(guided_regex => '[a');
is($r->{status}, 400, 'no regex');
is($r->{json}{error}{param}, 'guided_regex', 'its parameter is named');
is(metric('grammars_refused_total'), 1, 'counted');

# --- one compilation for all; nobody else waits ---

my ($made, $found) = map { metric($_) } qw(grammars_total grammar_cache_hits_total);
my @c = map { $t->request('POST', '/v1/completions',
    body => body(slow('a'))) } 1 .. 4;
is(comp(max_tokens => 2)->{status}, 200, 'another request is answered meanwhile');
is($_->response(120)->{status}, 200, 'a slow grammar') for @c;
is(metric('grammars_total'), $made + 1, 'compiled once');
is(metric('grammar_cache_hits_total'), $found + 3, 'found by the others');

# --- the client goes away ---

my $gone = $t->request('POST', '/v1/completions', body => body(slow('b')));
select undef, undef, undef, 0.2;
$gone->close;
ok((wait_for { metric('engine_requests') == 0 } 120), 'nothing of it is left');

# --- the engine goes away ---

@c = map { $t->request('POST', '/v1/completions', body => body(slow("c$_"))) } 1 .. 4;
select undef, undef, undef, 0.5;
is($t->engine_stop, 0, 'it ends in order while it compiles');
$_->close for @c;

# --- limits ---

$t->engine_real(LLMWhole::options('--grammar-time', 1));
LLMWhole::ready($t);
$r = comp(slow('d'));
is($r->{status}, 400, 'too slow: refused');
is($r->{json}{error}{param}, 'guided_json', 'too slow: its parameter');
diag($r->{json}{error}{message});
is($t->engine_stop, 0, 'it ends in order');

$t->engine_real(LLMWhole::options('--grammar-memory', '1m', '--threads', 1,
    '--mask-wait', 1));
LLMWhole::ready($t);
$r = comp(slow('e'));
is($r->{status}, 400, 'too large: refused');
is($r->{json}{error}{param}, 'guided_json', 'too large: its parameter');
diag($r->{json}{error}{message});

$r = comp(guided_regex => $re, n => 3, temperature => 2, prompt => ['One', 'Two']);
is($r->{status}, 200, 'others are not');
is_deeply($r->{json}{choices}, $again->{json}{choices},
    'the same answer with other threads, and masks that come late');

$t->done;
