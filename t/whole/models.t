#!/usr/bin/perl

# The configuration is the desired state: models added, swapped and removed
# by a reload, without a gap; what fails to load leaves the old one serving.

use strict;
use warnings;
use lib 't/lib';
use File::Copy qw(copy);
use LLMTest;
use LLMWhole;
use Test::More;

my $path = LLMWhole::need_model();
my $t = LLMTest->new;
my $root = $t->dir . '/models';
mkdir $root;
link($path, "$root/a.gguf") or symlink($path, "$root/a.gguf")
    or copy($path, "$root/a.gguf");
my $copied = -l "$root/a.gguf";
if ($copied) { unlink "$root/a.gguf"; copy($path, "$root/a.gguf") or die $! }
copy($path, "$root/b.gguf") or die $!;
$t->write('models/broken.gguf', 'GGUF' . 'x' x 100);
symlink('/etc/passwd', "$root/link.gguf");

sub model { my ($name, $file, $more) = @_;
    return "llm_model $name { engine local; weights $file; " . ($more || '') . '}' }

sub state {
    my %s = map { $_->{name} => $_ } @{ ($t->get('/readyz')->{json} || {})->{models} || [] };
    return \%s;
}

sub ask {
    my ($model) = @_;
    my $r = $t->post('/v1/completions', json({ model => $model, prompt => 'Hi', max_tokens => 2 }));
    return $r->{status} == 200 ? $r->{json}{model} : $r->{status};
}

$t->conf(model => model('one', 'a.gguf', 'names default;'));
$t->engine_real('--model-root', $root, '--memory', '3g', '--model-linger', 1, '--log-level', 'info');
$t->run;
ok(LLMWhole::ready($t), 'ready once it is loaded');
is(ask('default'), 'one', 'the first model answers to its alias');
is(ask('two'), 404, 'another does not exist yet');

# Added, with the first still serving: streams run through the reload.
my $c = $t->request('POST', '/v1/completions', body => json({ model => 'one', prompt => 'Hi',
    max_tokens => 300, ignore_eos => JSON::PP::true, stream => JSON::PP::true, temperature => 0,
    stream_options => { include_usage => JSON::PP::true } }));
ok($c->event, 'a stream runs');
$t->conf(model => model('one', 'a.gguf', 'names default;') . model('two', 'b.gguf'));
$t->reload;
is(ask('one'), 'one', 'it answers while the other loads');
ok((wait_for {; state()->{two}{serving} } 60), 'the new one is loaded');
is(ask('two'), 'two', 'and answers');
my @e = $c->events(60);
is($e[-1], "data: [DONE]\n\n", 'the stream went on through the reload');
like($e[-2], qr/"completion_tokens":300,/, 'without a loss');

# Files that are not there, broken, or outside: the name's trouble only.
for my $case (['nosuch.gguf', qr/No such file/], ['broken.gguf', qr/version|GGUF|file/i],
    ['link.gguf', qr/below|Invalid cross|not permitted/i], ['../x.gguf', qr/below|cross/i])
{
    $t->conf(model => model('one', 'a.gguf', 'names default;') . model('bad', $case->[0]));
    $t->reload;
    ok((wait_for {; (state()->{bad}{state} || '') eq 'failed' } 20), "$case->[0]: failed");
    like(state()->{bad}{error} || '', $case->[1], '... and why') ;
    is($t->get('/readyz')->{status}, 503, '... readyz says so');
    is(ask('one'), 'one', '... the other goes on');
    is(ask('bad'), 503, '... it is 503');
}

# The same name with other weights: the old ones answer until then.
$t->conf(model => model('one', 'broken.gguf', 'names default;'));
$t->reload;
ok((wait_for {; (state()->{one}{state} || '') eq 'failed' } 20), 'new weights that do not load');
is(ask('one'), 'one', 'the previous ones go on');

# Replaced by rename: loaded anew, no request fails meanwhile.
$t->conf(model => model('one', 'a.gguf', 'names default;'));
$t->reload;
ok(LLMWhole::ready($t), 'back');
copy($path, "$root/new.gguf") or die $!;
rename "$root/new.gguf", "$root/a.gguf" or die $!;
$t->reload;
my ($asked, $bad) = (0, 0);
wait_for {; $asked++; $bad++ if ask('one') ne 'one'; LLMWhole::ready($t, 0.01) && $asked > 5 } 60;
is($bad, 0, "a swap without a gap ($asked requests)");

# What nobody names goes.
ok($t->engine_log(qr/is unloaded/, timeout => 30), 'weights that nobody names are unloaded');
ok((wait_for {; $t->get('/metrics')->{body} =~ /^ngx_llm_memory_used_bytes\{[^}]*\} (\S+)/m
    && $1 < 2.5e9 } 30), 'their memory is free');
$t->done;
