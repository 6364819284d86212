#!/usr/bin/perl

# Every example of README.md, run as it stands, against the real thing; only
# port and paths are this test's. Outputs must have the README's form.

use strict;
use warnings;
use lib 't/lib';
use JSON::PP ();
use LLMTest;
use LLMWhole;
use Test::More;

my $path = LLMWhole::need_model();
my $readme = do { local (@ARGV, $/) = 'README.md'; <> };
my @blocks;
push @blocks, { lang => $1, text => $2 } while $readme =~ /^```(\w+)\n(.*?)^```$/gms;

sub blocks { my ($lang) = @_; return map { $_->{text} } grep { $_->{lang} eq $lang } @blocks }

# The form of a JSON value: its members' names and types.
sub form {
    my ($v) = @_;
    return { map { $_ => form($v->{$_}) } keys %$v } if ref $v eq 'HASH';
    return [map { form($_) } @$v] if ref $v eq 'ARRAY';
    return ref $v ? 'bool' : !defined $v ? 'null' : $v =~ /^-?[\d.]+$/ ? 'number' : 'string';
}

my $t = LLMTest->new;

# The configuration: theirs, with our port, socket, module and temp paths.
my ($conf) = blocks('nginx');
cmp_ok(scalar(() = $conf =~ /\n/g), '<=', 14, 'the configuration is short');
$conf =~ s{^load_module .*\n}{%%GLOBALS%%\nerror_log error.log info;\n}m or fail('load_module');
$conf =~ s{unix:\S+?;}{unix:%%SOCK%%;} or fail('socket');
$conf =~ s{http \{\n}{http \{\n%%HTTP%%\n} or fail('http');
$conf =~ s{listen 8080}{listen 127.0.0.1:%%PORT_0%%} or fail('listen');
$conf =~ s{(location = /readyz)}{location = /metrics { llm_metrics; }\n$1};
$t->conf_raw($conf);
$t->engine_real(LLMWhole::options());
$t->run;
ok(LLMWhole::ready($t), 'the configuration serves');

my $port = $t->port;

for my $b (blocks('console')) {
    my ($cmd, $want) = $b =~ /^\$ (.*?)\n(.*)/s;
    $cmd =~ s/127\.0\.0\.1:8080/127.0.0.1:$port/;
    my $got = `$cmd`;
    my @got = grep { length } split /\n/, $got;
    my @want = grep { length } split /\n/, $want;
    is(@got, @want, 'as many lines: ' . substr($cmd, 0, 60));
    for my $i (0 .. $#want) {
        my ($g, $w) = map { s/^data: //r } $got[$i] || '', $want[$i];
        if ($w =~ /^\{/) {
            is_deeply(form(eval { JSON::PP::decode_json($g) }),
                form(JSON::PP::decode_json($w)), "line $i has the form") or diag($g);
        } else {
            is($g, $w, "line $i");
        }
    }
}

my $python = LLMWhole::cache() . '/venv-test/bin/python';
SKIP: {
    skip 'no Python environment (util/deps test)', 1 unless -x $python;
    for my $b (blocks('python')) {
        $b =~ s/127\.0\.0\.1:8080/127.0.0.1:$port/;
        $t->write('example.py', $b);
        my $out = `$python @{[$t->dir]}/example.py 2>&1`;
        is($?, 0, 'the SDK example runs') or diag($out);
        like($out, qr/^\S.{10,}\n\z/s, 'and prints a text');
    }
}

# What it says of make and of options is so.
my $make = do { local (@ARGV, $/) = 'Makefile'; <> };
like($make, qr/^$_:/m, "make $_") for $readme =~ /^    make (\w+)/gm;
my $help = `$ENV{PWD}/build/ngx-llm-engine --help`;
for my $tool (qw(quantize perplexity bench)) {
    my $c = do { local (@ARGV, $/) = "util/$tool.c"; <> };
    $help .= "--$1\n" while $c =~ /\{"([a-z-]+)", [01], NULL, /g;
}
$help .= `$ENV{PWD}/build/llm-$_ --help 2>&1` for qw(gemmbench maskbench);
for my $o ($readme =~ /(?<![\w-])--([a-z][a-z-]+)/g) {
    like($help, qr/--\Q$o\E\b/, "option --$o") unless $o =~ /^(version|help)$/;
}

# Every directive of the module is described, and no other.
my $src = join '', map { local (@ARGV, $/) = $_; <> } glob 'ngx_module/*.c';
my %have = map { $_ => 1 } $src =~ /ngx_string\("(llm_\w+)"\),\s*\n?\s*NGX_/g;
my %said = map { $_ => 1 } $readme =~ /^### (llm_\w+)/gm;
is_deeply([sort keys %said], [sort keys %have], 'directives');

# The table of models has a row for every architecture, each tested and fast
# somewhere (mistral and mixtral are GGUF's llama).
my $arch = do { local (@ARGV, $/) = 'engine/model/arch.c'; <> };
my ($table) = $readme =~ /(<!-- models-table: .*?<!-- models-table end)/s;
my %rows = map { $_ => 1 } $table =~ /^\| `([\w-]+)` \|/gm;
ok(delete $rows{$_}, "a row for $_") for 'mistral', 'mixtral', $arch =~ /\{\.name = "([\w-]+)"/g;
is_deeply([keys %rows], [], 'and no other');
unlike($readme, qr/^\| `[\w-]+` \| [^|]+ \| - \|/m, 'each with its logits');
unlike($readme, qr/^\| `[\w-]+` .*\| - \|$/m, 'each measured');

$t->done;
