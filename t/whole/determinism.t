#!/usr/bin/perl

# The same answer, bit for bit: a request alone, after a prefix hit, among 15
# others, after a preemption; with one thread and two, and with other sizes of
# chunks, steps and batches. What is compared is text, finish reason and the
# log-probabilities as printed.

use strict;
use warnings;
use lib 't/lib';
use JSON::PP ();
use LLMTest;
use LLMWhole;
use Test::More;

LLMWhole::need_model();
plan(skip_all => 'takes too long under TSan, and is about values, not threads')
    if ($ENV{SAN} || '') eq 'tsan';

my $long = $ENV{SAN} ? 6 : 32; # tokens of an answer
my $wait = $ENV{SAN} ? 500 : 120;
my ($true, $false) = (JSON::PP::true, JSON::PP::false);

# 16 requests: greedy and seeded, chat and completions, streamed and not, with
# prompts of some 10 to 600 tokens.
my $story = join ' ', map { "On day $_ the keeper of the light saw " . $_ * 7
    . ' ships pass, and wrote each name into the ledger.' } 1 .. 24;
my @requests = map { request($_) } 0 .. 15;
my @mixed = $ENV{SAN} ? (3 .. 8) : (0 .. 15); # a sanitizer takes its time

# Short prompts and long answers: more come into a small pool of KV pages than
# can stay there to their ends, so that some are preempted whatever the timing.
# A page holds 32 tokens and takes 720 KiB; 37 tokens of prompt take two pages,
# and one more is kept for each that runs. Of 16 pages five get in, and want
# five each.
my @pressed = map { 16 + $_ } 0 .. ($ENV{SAN} ? 3 : 7);
my ($pool, $many) = $ENV{SAN} ? ('5m', 70) : ('12m', 110);
push @requests, map { pressed($_) } @pressed;

sub request {
    my ($i) = @_;
    my %r = (model => 'default', max_tokens => $long + $i % 5, ignore_eos => $true);
    if ($i % 3) {
        %r = (%r, temperature => 0.7 + $i / 20, top_p => 0.95, seed => 1000 + $i);
        $r{presence_penalty} = 0.5 if $i % 2;
        $r{top_k} = 50 if $i % 4 == 1;
    } else {
        $r{temperature} = 0;
    }
    if ($i % 4 == 3) {
        %r = (%r, prompt => substr($story, 0, 40 + 150 * $i), logprobs => 4);
        return ['/v1/completions', \%r];
    }
    my $text = $i % 4 == 2 ? "Number $i. Summarise: " . substr($story, $i, 100 * $i)
        : "Tell me about the number $i.";
    %r = (%r, messages => [{ role => 'user', content => $text }], logprobs => $true,
        top_logprobs => $i % 6, stream => $i % 2 ? $true : $false);
    $r{n} = 2 if $i == 4;
    return ['/v1/chat/completions', \%r];
}

sub pressed {
    my ($i) = @_;
    return ['/v1/completions', { model => 'default', max_tokens => $many, ignore_eos => $true,
        prompt => "$i: " . substr($story, $i, 120), logprobs => 2,
        temperature => $i % 2, seed => $i }];
}

sub send_one {
    my ($t, $i) = @_;
    my ($uri, $body) = @{ $requests[$i] };
    return $t->request('POST', $uri, body => json($body));
}

# The answer's substance as a string; of a stream, its events put together.
sub take {
    my ($c, $i) = @_;
    my %choice;
    if (!$requests[$i][1]{stream}) {
        my $r = $c->response($wait);
        return "status $r->{status}: $r->{body}" if $r->{status} != 200;
        for my $k (@{ $r->{json}{choices} }) {
            $choice{ $k->{index} } = [$k->{message} ? $k->{message}{content} : $k->{text},
                $k->{finish_reason}, $k->{message} ? $k->{logprobs}{content} : $k->{logprobs}];
        }
        return (json(\%choice), $r->{json}{usage}{prompt_tokens_details}{cached_tokens});
    }
    my $done = 0;
    for my $e ($c->events($wait)) {
        $done = 1 if $e =~ /^data: \[DONE\]/;
        my ($data) = $e =~ /^data: (\{.*\})/s or next;
        for my $k (@{ JSON::PP::decode_json($data)->{choices} || [] }) {
            my $to = $choice{ $k->{index} } ||= ['', undef, []];
            $to->[0] .= $k->{delta}{content} if defined $k->{delta}{content};
            $to->[1] = $k->{finish_reason} if defined $k->{finish_reason};
            push @{ $to->[2] }, @{ $k->{logprobs}{content} } if $k->{logprobs};
        }
    }
    return json(\%choice) . ($done ? '' : ' cut');
}

sub preemptions {
    my ($t) = @_;
    my ($n) = $t->get('/metrics')->{body} =~ /^vllm:num_preemptions_total\S* (\d+)/m;
    return defined $n ? $n : -1;
}

# These at once; those that answer otherwise than alone.
sub together {
    my ($t, $want, @which) = @_;
    my @c = map { send_one($t, $_) } @which;
    my @wrong;
    for my $i (@which) {
        my ($got) = take(shift @c, $i);
        next if $got eq $want->[$i];
        push @wrong, $i;
        diag("request $i\n  alone: $want->[$i]\n  now:   $got") if @wrong == 1;
    }
    return join ' ', @wrong;
}


# Each engine is a subtest, with all that LLMTest looks for at its end.
sub engine {
    my ($name, $options, $code) = @_;
    subtest $name => sub {
        my $t = LLMWhole::start(engine => $options);
        $code->($t);
        $t->done;
    };
}

my @want;

engine 'alone, again, together' => [], sub {
    my ($t) = @_;
    for my $i (@mixed, @pressed) {
        ($want[$i]) = take(send_one($t, $i), $i);
    }
    my @all = @want[@mixed, @pressed];
    is(join("\n", grep { !/"length"/ || / cut$/ } @all), '', 'all have a whole answer');
    is(scalar keys %{ { map { $_ => 1 } @all } }, scalar @all, '... of their own');

    my @again = map { [$_, take(send_one($t, $_), $_)] } @mixed;
    is(join(' ', map { $_->[0] } grep { $_->[1] ne $want[$_->[0]] } @again), '',
        'the same after a prefix hit');
    cmp_ok(scalar(grep { $_->[2] } @again), '>', 1, '... of which there were some');

    is(together($t, \@want, @mixed), '', 'the same among 15 others');
    is(preemptions($t), 0, '... without a preemption');
};

# Nothing is cached when they come at once.
my @engines = (
    ['under pressure of pages', 1, '--kv', $pool],
    ['one thread, chunks of 16', 0, '--threads', 1, '--chunk', 16, '--rows', 48, '--batch', 32],
    ['two threads, chunks of 7, 5 at once', 0, '--threads', 2, '--chunk', 7, '--rows', 33,
        '--batch', 5],
    ['little of everything', 1, '--kv', $pool, '--threads', 1, '--chunk', 9, '--rows', 16,
        '--batch', 12],
);

for ($ENV{SAN} ? @engines[0, 2] : @engines) {
    my ($name, $pressed, @options) = @$_;
    engine $name => \@options, sub {
        my ($t) = @_;
        if (!$pressed) {
            is(together($t, \@want, @mixed), '', 'the same among 15 others');
            return;
        }
        is(together($t, \@want, @pressed), '', 'the same among others');
        my $n = preemptions($t);
        cmp_ok($n, '>', 0, "... with $n preemptions");
        is(together($t, \@want, @pressed), '', '... and again, with prefixes cached');
    };
}

done_testing();
