#!/usr/bin/perl

# Tools and structured output through the real NGINX and engine, byte by byte:
# what each parameter does, streams against wholes, what is refused and why.

use strict;
use warnings;
use lib 't/lib';
use JSON::PP ();
use LLMTest;
use LLMWhole;
use Test::More;

my $t = LLMWhole::start(format => '"t=$llm_tool_count h=$llm_has_tool_calls '
    . 'f=$llm_finish_reason"');

my @ask = ({ role => 'user', content => 'Weather in Oslo?' });
my ($true, $false) = (JSON::PP::true, JSON::PP::false);

sub function {
    my ($name, %p) = @_;
    return { type => 'function', function => { name => $name, description => 'x',
        parameters => { type => 'object', properties => \%p, required => [sort keys %p],
            additionalProperties => $false } } };
}

my @tools = (
    function('get_weather', city => { enum => ['Oslo', 'Bergen'] },
        days => { type => 'integer', minimum => 1, maximum => 9 }),
    function('get_time', zone => { type => 'string', pattern => '^[A-Z]{2,3}$' }),
    { type => 'custom', custom => { name => 'code', format => { type => 'grammar',
        grammar => { syntax => 'regex', definition => '[a-c]{2,4}' } } } });

sub chat_with {
    my (%o) = @_;
    return $t->post('/v1/chat/completions', json({ model => 'default',
        messages => \@ask, temperature => 1, max_tokens => 200, %o }));
}

# The message that a stream adds up to.
sub streamed {
    my (%o) = @_;
    my $r = chat_with(%o, stream => $true);
    my %m = (content => '', calls => []);
    for my $e (split /\n\n/, $r->{body}) {
        next unless $e =~ s/^data: (?=\{)//;
        for my $c (@{ JSON::PP->new->utf8->decode($e)->{choices} }) {
            $m{content} .= $c->{delta}{content} // '';
            $m{finish} = $c->{finish_reason} // $m{finish};
            for my $d (@{ $c->{delta}{tool_calls} || [] }) {
                my $call = $m{calls}[$d->{index}] ||= { id => $d->{id}, type => $d->{type} };
                for my $kind (grep { $d->{$_} } 'function', 'custom') {
                    $call->{$kind}{$_} .= $d->{$kind}{$_} for keys %{ $d->{$kind} };
                }
            }
        }
    }
    $m{done} = $r->{body} =~ /data: \[DONE\]\n\n\z/;
    return \%m;
}

sub valid {
    my ($call) = @_;
    return $call->{custom}{input} =~ /\A[a-c]{2,4}\z/ && $call->{custom}{name} eq 'code'
        if $call->{type} eq 'custom';
    my $a = JSON::PP->new->decode($call->{function}{arguments});
    return join(',', sort keys %$a) eq 'city,days' && $a->{city} =~ /\A(Oslo|Bergen)\z/
        && $a->{days} =~ /\A[1-9]\z/ if $call->{function}{name} eq 'get_weather';
    return join(',', keys %$a) eq 'zone' && $a->{zone} =~ /\A[A-Z]{2,3}\z/
        if $call->{function}{name} eq 'get_time';
    return 0;
}

# --- what must be called is called, and valid ---

my %id;
for my $seed (1 .. 6) {
    my %o = (tools => \@tools, tool_choice => 'required', seed => $seed);
    my $r = chat_with(%o);
    my $c = $r->{json}{choices}[0];
    my @calls = @{ $c->{message}{tool_calls} || [] };
    next if $c->{finish_reason} eq 'length' && ok(1, "seed $seed: cut");
    ok(@calls && !(grep { !valid($_) } @calls), "seed $seed: valid calls") or diag $r->{body};
    is($c->{finish_reason}, 'tool_calls', '... and its finish');
    is($c->{message}{content}, undef, '... no content') unless length($c->{message}{content} // '');
    $id{$_->{id}}++ for @calls;

    my $m = streamed(%o);
    my %same = map { $_->{id} => 1 } @calls;
    is(json([map { $_->{custom} || $_->{function} } @{ $m->{calls} }]),
        json([map { $_->{custom} || $_->{function} } @calls]), '... streamed the same');
    is($m->{finish}, 'tool_calls', '... and its finish');
    ok($m->{done}, '... to its end');
}
ok(!(grep { $_ > 1 } values %id), 'ids differ');

for my $case ([{ type => 'function', function => { name => 'get_time' } }, 'get_time'],
    [{ type => 'custom', custom => { name => 'code' } }, 'code'],
    [{ type => 'allowed_tools', allowed_tools => { mode => 'required',
        tools => [{ type => 'function', function => { name => 'get_weather' } }] } }, 'get_weather'])
{
    my ($choice, $name) = @$case;
    my $c = chat_with(tools => \@tools, tool_choice => $choice,
        parallel_tool_calls => $false)->{json}{choices}[0];
    my @calls = @{ $c->{message}{tool_calls} || [] };
    ok(@calls && !(grep { !valid($_) || ($_->{custom} || $_->{function})->{name} ne $name } @calls),
        "$choice->{type} $name: nothing else is called") or diag json($c);
}

for my $calls ('any', 'required') {
    my $r = chat_with(tools => \@tools, tool_choice => $calls, parallel_tool_calls => $false, n => 4);
    is(scalar(grep { @{ $_->{message}{tool_calls} || [] } != 1 } @{ $r->{json}{choices} }), 0,
        "$calls, not parallel: one call each");
}

# --- text that must be of a form ---

# JSON has many spellings: those are looked at when they are read.
sub decoded { return eval { JSON::PP->new->allow_nonref->decode($_[0]) } }

sub of_form {
    my ($text, $form) = @_;
    return ref $form eq 'CODE' ? $form->($text) : $text =~ $form;
}

my @forms = (
    [{ response_format => { type => 'json_schema', json_schema => { name => 'n', schema => {
        type => 'object', properties => { a => { type => 'integer', minimum => 0, maximum => 99 },
            b => { enum => ['x', 'y'] } }, required => ['a', 'b'], additionalProperties => $false } } } },
        sub { my $v = decoded(@_);
            return $v && $v->{a} =~ /\A\d{1,2}(\.0+)?\z/ && $v->{b} =~ /\A[xy]\z/ }],
    [{ response_format => { type => 'json_schema', json_schema => { name => 'n', whitespace => 'single',
        schema => { type => 'object', properties => { a => { const => 1 } }, required => ['a'],
            additionalProperties => $false } } } }, sub { my $v = decoded(@_); return $v && $v->{a} == 1 && $_[0] =~ /": 1/ }],
    [{ response_format => { type => 'grammar', grammar => 'root ::= "a" [b-d]{2}' } }, qr/\Aa[b-d]{2}\z/],
    [{ grammar => 'root ::= ("ab" | "cd"){2}' }, qr/\A(ab|cd){2}\z/],
    [{ guided_regex => '(x|yz){3}' }, qr/\A(x|yz){3}\z/],
    [{ guided_choice => ['one', 'two words'] }, qr/\A(one|two words)\z/],
    [{ guided_grammar => 'start: "a" B~2' . "\n" . 'B: /[xy]/' }, qr/\Aa[xy]{2}\z/],
    [{ guided_json => { const => ['1', { a => $true }] } }, sub { json(decoded(@_)) eq '["1",{"a":true}]' }],
    [{ structured_outputs => { choice => ['yes'] } }, qr/\Ayes\z/],
    [{ json_schema => { type => 'boolean' } }, qr/\A(true|false)\z/],
);

for my $case (@forms) {
    my ($more, $form) = @$case;
    my $r = chat_with(%$more, n => 3);
    my @bad = grep { !of_form($_->{message}{content}, $form) || $_->{finish_reason} ne 'stop' }
        @{ $r->{json}{choices} || [{}] };
    is(scalar @bad, 0, 'chat: ' . substr(json($more), 0, 80)) or diag $r->{body};
    is(streamed(%$more, seed => 3)->{content},
        chat_with(%$more, seed => 3)->{json}{choices}[0]{message}{content}, '... streamed the same');
    $r = $t->post('/v1/completions', json({ model => 'default', prompt => 'Once', temperature => 1,
        max_tokens => 100, %$more }));
    ok(of_form($r->{json}{choices}[0]{text} // '', $form), '... completions') or diag $r->{body};
}

# --- prompts: what tools and results take ---

sub tokens {
    my (%o) = @_;
    return $t->post('/v1/tokenize', json({ model => 'default', messages => \@ask, %o }))->{json}{count};
}

my $none = tokens();
ok(tokens(tools => \@tools) > $none + 50, 'tools are in the prompt');
is(tokens(tools => []), $none, '... none are not');
is(tokens(tools => \@tools, tool_choice => 'none'), $none, '... nor those that nobody may call');
my $r = chat_with(tools => \@tools, tool_choice => 'required', max_tokens => 1);
is($r->{json}{usage}{prompt_tokens}, tokens(tools => \@tools), 'a chat has the same prompt');
is($r->{json}{choices}[0]{finish_reason}, 'length', '... and is cut by its tokens only');

my @history = (@ask, { role => 'assistant', content => undef, tool_calls => [
    { id => 'a', type => 'function', function => { name => 'get_time', arguments => '{"zone":"CET"}' } },
    { id => 'b', type => 'function', function => { name => 'get_time', arguments => '{"zone":"UTC"}' } }] },
    { role => 'tool', tool_call_id => 'b', content => 'noon' },
    { role => 'tool', tool_call_id => 'a', content => [{ type => 'text', text => 'one' }] });
$r = chat_with(messages => \@history, tools => \@tools, max_tokens => 4);
is($r->{status}, 200, 'calls and results of before, the other way round');
ok($r->{json}{usage}{prompt_tokens} > tokens(tools => \@tools) + 20, '... are in the prompt');

# --- refused ---

my @refused = (
    [{ response_format => { type => 'json_schema', json_schema => { name => 'n',
        schema => { type => 'string', minLength => 3, maxLength => 2 } } } }, qr/^response_format/],
    [{ response_format => { type => 'json_schema', json_schema => { name => 'n',
        schema => { '$ref' => 'https://a.example/b' } } } }, qr/^response_format/],
    [{ grammar => 'root ::= nosuch' }, qr/^grammar/],
    [{ guided_regex => '(' }, qr/^guided_regex/],
    [{ guided_grammar => 'start: "a' }, qr/^guided_grammar/],
    [{ tools => [function('f', x => { enum => [] })], tool_choice => 'required' }, qr/^tools\[0\]/],
    [{ tools => [@tools[0, 1], { type => 'custom', custom => { name => 'g', format => {
        type => 'grammar', grammar => { syntax => 'regex', definition => '[' } } } }] }, qr/^tools\[2\]/],
    [{ messages => [$history[0], { %{ $history[1] }, tool_calls => [{ id => 'a', type => 'function',
        function => { name => 'f', arguments => '{"zone": CET}' } }] }] },
        qr/^messages\[1\]\.tool_calls\[0\]\.function\.arguments/, qr/at byte 9/],
    [{ messages => [@history[0, 2]] }, qr/^messages\[1\]\.tool_call_id/],
    [{ guided_regex => 'a', grammar => 'root ::= "a"' }, qr/^guided_regex/, qr/together/],
    [{ reasoning_effort => 'high' }, qr/^reasoning_effort/],
);

for my $case (@refused) {
    my ($more, $param, $message) = @$case;
    for my $stream ($false, $true) {
        $r = chat_with(%$more, stream => $stream);
        is($r->{status}, 400, 'refused: ' . substr(json($more), 0, 90)) or diag $r->{body};
        like($r->{error}{param} // '', $param, "... by name: " . ($r->{error}{message} // ''));
        like($r->{error}{message} // '', $message || qr/./, '... and reason');
    }
}

# --- the access log ---

chat_with(tools => \@tools, tool_choice => { type => 'function', function => { name => 'get_time' } });
like($t->access_log(qr/f=tool_calls/), qr/t=3 h=1 f=tool_calls/, 'the access log knows of calls');

$t->done;
