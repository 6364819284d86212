#!/usr/bin/perl

# Hugging Face folders as they are: `weights FOLDER` through the real NGINX
# and engine answers what transformers answers (t/model/make_hf.py), from a
# folder, from a hub cache's links, quantised while loading; what is wrong
# with one is its name's trouble only.

use strict;
use warnings;
use lib 't/lib';
use File::Copy qw(copy);
use JSON::PP ();
use LLMTest;
use LLMWhole;
use Test::More;

my $families = 't/model/families';
plan(skip_all => "no $families") unless -f "$families/llama/config.json";

open my $f, '<', 't/model/hf/greedy.json' or die $!;
my $greedy = JSON::PP->new->decode(join '', <$f>);

my $t = LLMTest->new;
my $root = $t->dir . '/models';
mkdir $root;

sub folder { my ($from, $to, @files) = @_;
    mkdir "$root/$to";
    for my $file (@files ? @files : glob "$from/*") {
        my $name = $file =~ s{.*/}{}r;
        copy("$from/$name", "$root/$to/$name") or die "$from/$name: $!";
    }
}

folder("$families/$_", $_) for 'llama', 'qwen3';

# As a hub cache has it: names are links out of the folder, below the root.
mkdir "$root/$_" for 'hub', 'hub/blobs', 'hub/snapshots', 'hub/snapshots/0123';
for my $path (glob "$families/llama/*") {
    my $name = $path =~ s{.*/}{}r;
    copy($path, "$root/hub/blobs/x$name") or die $!;
    symlink("../../blobs/x$name", "$root/hub/snapshots/0123/$name") or die $!;
}

folder("$families/llama", 'outside', 'config.json', 'tokenizer.json');
symlink('/etc/passwd', "$root/outside/model.safetensors") or die $!;
folder("$families/llama", 'cut', 'config.json', 'tokenizer.json');
$t->write('models/cut/model.safetensors', 'x' x 100);
folder("$families/llama", 'pickle', 'config.json', 'tokenizer.json');
$t->write('models/pickle/pytorch_model.bin', 'x');
mkdir "$root/empty";

sub model { my ($name, $path, $more) = @_;
    return "llm_model $name { engine local; weights $path; " . ($more || '') . '}' }

sub state {
    my %s = map { $_->{name} => $_ } @{ ($t->get('/readyz')->{json} || {})->{models} || [] };
    return \%s;
}

sub chat_of {
    my ($model) = @_;
    return $t->post('/v1/chat/completions', json({ model => $model, temperature => 0,
        messages => [{ role => 'user', content => 'Say hello.' }],
        max_tokens => 24, logprobs => JSON::PP::true, ignore_eos => JSON::PP::true }));
}

sub same {
    my ($model, $as) = @_;
    my $r = chat_of($model);
    is($r->{status}, 200, "$model answers") or return diag($r->{body});
    is_deeply([map { $_->{bytes} } @{ $r->{json}{choices}[0]{logprobs}{content} }],
        $greedy->{$as}{tokens}, "$model: transformers' tokens");
    is($r->{json}{usage}{prompt_tokens}, $greedy->{$as}{prompt_tokens},
        "$model: transformers' prompt");
}

$t->conf(model => model('llama', 'llama', 'names default;') . model('qwen3', 'qwen3')
    . model('hub', 'hub/snapshots/0123') . model('q8', 'qwen3', 'quant q8_0;')
    . model('q4', 'qwen3', 'quant q4_k;'));
$t->engine_real('--model-root', $root, '--memory', '600m', '--model-linger', 1,
    '--act', 'f32', '--log-level', 'info');
$t->run;
ok(LLMWhole::ready($t), 'folders are loaded');
same($_->[0], $_->[1]) for ['llama', 'llama'], ['qwen3', 'qwen3'], ['hub', 'llama'];

# Quantised while loading: other weights, so another fingerprint each; these
# margins are wide enough for 8 bits.
same('q8', 'qwen3');
my %prints = map { $_ => chat_of($_)->{json}{system_fingerprint} } 'qwen3', 'q8', 'q4', 'hub', 'llama';
is(scalar(keys %{ { map { $_ => 1 } @prints{'qwen3', 'q8', 'q4'} } }), 3, 'three sets of weights');
is($prints{hub}, $prints{llama}, 'the same weights from two places');

# What cannot be loaded.
for my $case (['outside', qr/Invalid cross|below|not permitted/i],
    ['cut', qr/model\.safetensors: not a safetensors file/],
    ['pickle', qr/pytorch_model\.bin is not read/], ['empty', qr/no Hugging Face folder/])
{
    $t->conf(model => model('llama', 'llama', 'names default;') . model('bad', $case->[0]));
    $t->reload;
    ok((wait_for {; (state()->{bad}{state} || '') eq 'failed' } 20), "$case->[0]: failed");
    like(state()->{bad}{error} || '', $case->[1], '... and why');
    is(chat_of('llama')->{status}, 200, '... the other goes on');
}

# Every family, as a folder and as the converter's file: the same weights to
# the last bit, so the same probabilities. Those without a tokenizer get one.
my @families = grep { -f "$families/$_.gguf" && -f "$families/$_/config.json" }
    map { m{([^/]+)/config\.json$} } glob "$families/*/config.json";
for my $name (grep { !/^(llama|qwen3)$/ } @families) {
    folder("$families/llama", $name, 'tokenizer.json', 'tokenizer_config.json');
    folder("$families/$name", $name);
}
for my $name (@families) {
    copy("$families/$name.gguf", "$root/$name.gguf") or die $!;
    $t->conf(model => model("$name-folder", $name) . model("$name-file", "$name.gguf"));
    $t->reload;
    ok((wait_for {; 2 == grep { (state()->{"$name-$_"}{state} || '') eq 'ready' } 'folder', 'file' } 30),
        "$name: both are loaded") or diag(json(state()));
    my @said = map {
        my $r = $t->post('/v1/completions', json({ model => $_, prompt => [1 .. 40],
            max_tokens => 8, temperature => 0, logprobs => 3, ignore_eos => JSON::PP::true }));
        $r->{status} == 200 ? $r->{json}{choices}[0]{logprobs}{token_logprobs} : $r->{body};
    } "$name-folder", "$name-file";
    is(ref $said[0], 'ARRAY', "$name: it answers") or diag($said[0]);
    if ($name eq 'llama') { # its factors of rope are computed twice
        ok(!(grep { abs($said[0][$_] - $said[1][$_]) > 1e-4 } 0 .. 7), "$name: nearly the same");
        next;
    }
    is_deeply($said[0], $said[1], "$name: the file's probabilities");
}

$t->conf(model => model('llama', 'llama', 'names default;'));
$t->reload;
ok((wait_for {; (state()->{llama}{state} || '') eq 'ready' } 30), 'back');

# A file of the folder changed: loaded anew at the next reload.
sub created {
    my ($m) = grep { $_->{id} eq 'llama' } @{ $t->get('/v1/models')->{json}{data} };
    return $m->{created};
}

my $new = created() + 100;
utime $new, $new, "$root/llama/config.json" or die $!;
$t->conf(model => model('llama', 'llama', 'names default;'));
$t->reload;
ok((wait_for {; created() == $new && LLMWhole::ready($t, 0.01) } 20),
    'a folder that changed is another version');
same('llama', 'llama');

$t->done;
