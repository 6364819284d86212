#!/usr/bin/perl

# Reasoning through the real NGINX and engine: the default model with another
# template, which opens a thought in every answer.  What the model thinks makes
# no sense; where its thoughts go, how long they are and what the answer is
# held to does not hang on that.

use strict;
use warnings;
use lib 't/lib';
use File::Temp qw(tempdir);
use JSON::PP ();
use LLMTest;
use LLMWhole;
use Test::More;

my $dir = tempdir('llm-XXXXXX', TMPDIR => 1, CLEANUP => 1);
my ($true, $false) = (JSON::PP::true, JSON::PP::false);

# A copy of the weights; the new template is as long as the old one was.
sub thinker {
    my ($name, $template) = @_;
    open my $f, '<:raw', LLMWhole::need_model() or die "$!";
    local $/;
    my $data = <$f>;
    my $key = "tokenizer.chat_template" . pack('V', 8);
    my $at = index($data, $key);
    die 'no template' if $at < 0;
    $at += length $key;
    my $len = unpack 'Q<', substr($data, $at, 8);
    die "$len bytes are too few" if length $template > $len - 4;
    substr($data, $at + 8, $len) = $template . '{#' . (' ' x ($len - 4 - length $template)) . '#}';
    open my $o, '>:raw', "$dir/$name.gguf" or die "$!";
    print $o $data;
    close $o or die "$!";
    return "llm_model $name { engine local; weights $name.gguf; }";
}

my $im = q({% for m in messages %}{{'<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n'}})
    . q({% endfor %}{{ '<|im_start|>assistant\n' }});
my $conf = thinker('opens', $im . q({{ '<think>\n' if enable_thinking is not defined or )
    . q(enable_thinking else '<think>\n\n</think>\n\n' }}));
$conf .= thinker('may', $im . q({# <think> </think> #}));

my $t = LLMWhole::start(model => $conf, engine => ['--model-root', $dir]);

sub chat_with {
    my (%o) = @_;
    return $t->post('/v1/chat/completions', json({ model => 'opens', temperature => 1,
        messages => [{ role => 'user', content => 'Why is the sky blue?' }],
        max_tokens => 150, seed => 7, %o }));
}

sub message { return $_[0]{json}{choices}[0]{message} }

sub streamed {
    my (%m) = (content => '', reasoning_content => '');
    my $r = chat_with(@_, stream => $true);
    for my $e (split /\n\n/, $r->{body}) {
        next unless $e =~ s/^data: (?=\{)//;
        for my $c (@{ JSON::PP->new->utf8->decode($e)->{choices} }) {
            $m{$_} .= $c->{delta}{$_} // '' for keys %m;
        }
    }
    return \%m;
}

my %schema = (response_format => { type => 'json_schema', json_schema => { name => 'n',
    schema => { type => 'object', properties => { a => { enum => [1, 'x'] } },
        required => ['a'], additionalProperties => $false } } });

# Whatever the spelling: {"a":1} or {"a":"x"}
sub formed {
    my ($text, @values) = @_;
    my $v = eval { JSON::PP->new->decode($text) };
    return ref $v eq 'HASH' && join(',', keys %$v) eq 'a' && grep { $v->{a} eq $_ } @values;
}

# --- a budget ends thoughts, and what follows is held to its form ---

for my $budget (0, 1, 7, 30) {
    for my $name (qw(thinking_budget thinking_token_budget)) {
        next if $name =~ /token/ && $budget != 7;
        my %o = ($name => $budget, %schema);
        my $r = chat_with(%o);
        my $u = $r->{json}{usage};
        is($r->{status}, 200, "$name $budget") or diag $r->{body};
        ok(formed(message($r)->{content}, 1, 'x'), '... the answer is of its form') or diag $r->{body};
        is($r->{json}{choices}[0]{finish_reason}, 'stop', '... and whole');
        my $n = $u->{completion_tokens_details}{reasoning_tokens};
        ok($n <= $budget + 3, "... after $n tokens of reasoning");
        ok(length(message($r)->{reasoning_content} // '') > 0, '... that are shown') if $budget > 1;
        unlike(message($r)->{reasoning_content} // '', qr/think>/, '... without their tags');

        my $m = streamed(%o);
        is($m->{content}, message($r)->{content}, '... streamed the same');
        is($m->{reasoning_content}, message($r)->{reasoning_content} // '', '... the thought too');
    }
}

# --- no budget: cut in a thought ---

my $r = chat_with(max_tokens => 5, %schema);
is($r->{json}{choices}[0]{finish_reason}, 'length', 'cut in a thought');
is(message($r)->{content}, '', '... there is no content');
ok(length message($r)->{reasoning_content}, '... but a thought');
is($r->{json}{usage}{completion_tokens_details}{reasoning_tokens}, 5, '... of all its tokens');

# --- reasoning_effort ---

$r = chat_with(reasoning_effort => 'none', max_tokens => 20);
is(message($r)->{reasoning_content}, undef, 'reasoning_effort none: no thought');
ok(length message($r)->{content}, '... but an answer');
is($r->{json}{usage}{completion_tokens_details}{reasoning_tokens}, 0, '... no token of reasoning');
$r = chat_with(reasoning_effort => 'none', %schema);
ok(formed(message($r)->{content}, 1, 'x'), '... of its form') or diag $r->{body};
$r = chat_with(reasoning_effort => 'low', max_tokens => 20);
ok(length message($r)->{reasoning_content}, 'low: a thought');
$r = chat_with(chat_template_kwargs => { enable_thinking => $false }, max_tokens => 20);
is(message($r)->{reasoning_content}, undef, 'enable_thinking false: none');

# --- a model that opens its thoughts itself ---

for my $seed (1 .. 4) {
    $r = chat_with(model => 'may', seed => $seed, thinking_budget => 10, %schema);
    ok(formed(message($r)->{content}, 1, 'x'), "a model that may think, seed $seed: of its form")
        or diag $r->{body};
}

# --- tools behind thoughts ---

my @tools = ({ type => 'function', function => { name => 'f', parameters => { type => 'object',
    properties => { a => { enum => ['x', 'y'] } }, required => ['a'], additionalProperties => $false } } });
$r = chat_with(tools => \@tools, tool_choice => 'required', parallel_tool_calls => $false,
    thinking_budget => 12);
is(scalar @{ message($r)->{tool_calls} || [] }, 1, 'a call behind a thought') or diag $r->{body};
ok(formed(message($r)->{tool_calls}[0]{function}{arguments}, 'x', 'y'), '... is valid')
    or diag $r->{body};
ok(length message($r)->{reasoning_content}, '... and the thought is there');
is($r->{json}{choices}[0]{finish_reason}, 'tool_calls', '... finish_reason');

# --- logprobs, stop strings: the content's ---

$r = chat_with(thinking_budget => 5, logprobs => $true, max_tokens => 30);
my $lp = $r->{json}{choices}[0]{logprobs};
is(join('', map { $_->{token} } @{ $lp->{content} || [] }) =~ s/^\s+//r,
    message($r)->{content} =~ s/^\s+//r, 'logprobs are of the content');
my $thought = message($r)->{reasoning_content};
my ($word) = $thought =~ /([a-z]{3,})/;
SKIP: {
    skip 'no word in the thought', 1 unless $word;
    $r = chat_with(thinking_budget => 5, logprobs => $true, max_tokens => 30, stop => [$word]);
    is(message($r)->{reasoning_content}, $thought, 'a stop string does not cut thoughts');
}

$t->done;
