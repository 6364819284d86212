#!/usr/bin/perl

# Random schemas and instances by an independent generator.  LLM_LONG_TESTS:
# fresh ones as well, and texts that masks allow, judged by Python's jsonschema.

use strict;
use warnings;
use Test::More;

my $b = $ENV{LLM_BUILD} || 'build';
my $cache = $ENV{NGX_LLM_CACHE} || "$ENV{HOME}/.cache/ngx-llm";
my $python = "$cache/venv-test/bin/python";
my $program = "$b/t/grammar/generate";
my $maker = 't/grammar/generate.py';
my $goldens = 't/grammar/generate_goldens.jsonl';

sub tap {
    my ($name, $command) = @_;

    subtest $name => sub {
        open my $p, '-|', $command or die "$command: $!\n";

        while (<$p>) {
            chomp;
            if (/^(not )?ok \d+ - (.*)/) { ok(!$1, $2) }
            elsif (/^# (.*)/)            { note($1) }
        }

        close $p;
        is($? >> 8, 0, 'exit status');
    };
}

tap('goldens', "$program $goldens");

if ($ENV{LLM_LONG_TESTS} && -x $python) {
    my $seed = time;
    my $fresh = "$b/t/grammar/generate_fresh.jsonl";

    is(system("$python $maker --seed $seed --max-bytes 600000 $fresh"), 0,
        "fresh ones of seed $seed");
    tap('fresh', "$program $fresh");

    for my $file ($goldens, $fresh) {
        tap("walks, $file",
            "$program walk $file | $python $maker --judge $file");
    }
}

done_testing();
