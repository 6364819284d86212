#!/usr/bin/perl

# Variables in the access log.

use strict;
use warnings;
use lib 't/lib';
use LLMTest;
use Test::More;

my @names = qw(llm_api llm_engine llm_model request_llm_model llm_request_id llm_tenant llm_stream
    llm_prompt_tokens llm_completion_tokens llm_total_tokens llm_reasoning_tokens
    llm_cache_read_input_tokens llm_cache_creation_input_tokens llm_time_to_first_token
    llm_queue_time llm_prefill_time llm_decode_time llm_tokens_per_second llm_tool_count
    llm_has_tool_calls llm_end_user_id llm_finish_reason llm_aborted llm_error_type);
my $t = LLMTest->new->conf(format => join("\n", map { "' $_=\$$_'" } @names),
    location => 'llm_tenant team-$arg_t;',
    server => 'location /forced/ { llm_pass smollm2; } location /var { return 200 "[$llm_model]"; }');
$t->engine->run;

my $lines = 0;

sub vars { return LLMTest::stats($t->access_log(++$lines)) }

my $r = $t->stream(sse(['events', 5, 0]), uri => '/v1/chat/completions?t=7',
    members => { user => 'someone' })->response;
my $v = vars();
my %want = (llm_api => 'chat', llm_engine => 'local', llm_model => 'fake',
    request_llm_model => 'smollm2', llm_tenant => 'team-7', llm_stream => 1,
    llm_prompt_tokens => 5, llm_completion_tokens => 5, llm_total_tokens => 10,
    llm_reasoning_tokens => 0, llm_cache_read_input_tokens => 2, llm_queue_time => '0.001',
    llm_prefill_time => '0.002', llm_decode_time => '0.004', llm_tool_count => 0,
    llm_end_user_id => 'someone', llm_finish_reason => 'stop', llm_aborted => '-',
    llm_error_type => '-');
is($v->{$_}, $want{$_}, "\$$_") for sort keys %want;
like($v->{llm_time_to_first_token}, qr/^\d+(?:\.\d+)?$/, '$llm_time_to_first_token');
like($v->{llm_tokens_per_second}, qr/^1000(?:\.0+)?$/, '$llm_tokens_per_second');
is($v->{llm_request_id}, "chatcmpl-$r->{headers}{'x-request-id'}", '$llm_request_id');
my $id = LLMTest::stats($t->engine_log(qr/ submit /))->{id};
is($v->{llm_request_id}, "chatcmpl-$id", 'is the id that the engine got');

$t->post('/v1/completions', chat([['admit', {}], ['head', 200, 'json'], ['data', '{}'],
    ['end', { finish => 'length', prompt => 100, completion => 20, reasoning => 3, tool_count => 2,
        tool_calls => 1, asked => 'an other "one"' }]], stream => JSON::PP::false));
$v = vars();
is($v->{llm_api}, 'completions', 'completions: $llm_api');
is($v->{llm_stream}, 0, 'no stream: $llm_stream');
is($v->{llm_finish_reason}, 'length', '$llm_finish_reason');
is($v->{llm_total_tokens}, 120, '$llm_total_tokens');
is($v->{llm_reasoning_tokens}, 3, '$llm_reasoning_tokens');
is($v->{llm_tool_count}, 2, '$llm_tool_count');
is($v->{llm_has_tool_calls}, 1, '$llm_has_tool_calls');
like($t->access_log($lines), qr/request_llm_model=an other \\x22one\\x22 /, 'escaped in the log');

$t->post('/forced/chat/completions', chat(sse()));
is(vars()->{llm_model}, 'smollm2', 'forced: $llm_model');

$t->get('/v1/models');
$v = vars();
is($v->{llm_api}, 'models', 'models: $llm_api');
like($v->{llm_completion_tokens}, qr/^[-0]$/, 'models: no tokens');

$t->post('/v1/nothing', '{}');
$v = vars();
is($v->{llm_error_type}, 'invalid_request_error', '404: $llm_error_type');
is($v->{llm_model}, '-', '404: no model');
is($v->{llm_prompt_tokens}, '-', '404: no tokens');

$t->get('/plain');
$v = vars();
is($v->{$_}, '-', "elsewhere: \$$_") for @names;
is($t->get('/var')->{body}, '[]', 'empty before the content phase');

$t->done;
