#!/usr/bin/perl

# Random schemas and instances by an independent generator; with
# LLM_LONG_TESTS fresh ones, where the tests' Python is.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
my $cache = $ENV{NGX_LLM_CACHE} || "$ENV{HOME}/.cache/ngx-llm";
my $python = "$cache/venv-test/bin/python";
my @file;

if ($ENV{LLM_LONG_TESTS} && -x $python) {
    my $seed = time;
    my $fresh = "$b/t/grammar/generate_fresh.jsonl";

    print "# seed $seed\n";
    system($python, 't/grammar/generate.py', '--seed', $seed, '--max-bytes',
        3_000_000, $fresh) == 0 or die "generate.py: $?\n";
    @file = ($fresh);
}

exec "$b/t/grammar/generate", @file or die "$b/t/grammar/generate: $!\n";
