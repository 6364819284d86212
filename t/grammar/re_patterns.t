#!/usr/bin/perl

# The patterns that real schemas have, against PCRE2; skipped without them.

use strict;
use warnings;
use JSON::PP ();

my $b = $ENV{LLM_BUILD} || 'build';
my @files = glob '../shared/data/jsonschemabench/*.jsonl.gz';
my %seen;

if (!@files) {
    print "1..0 # SKIP no ../shared/data/jsonschemabench\n";
    exit 0;
}

# Strings that follow "pattern", and the keys in "patternProperties".

my $json = JSON::PP->new->allow_nonref->utf8;

for my $file (@files) {
    open my $in, '-|', 'gzip', '-dc', $file or die "gzip: $!\n";

    while (my $line = <$in>) {
        while ($line =~ /"pattern"\s*:\s*("(?:[^"\\]|\\.)*+")/g) {
            add($1);
        }

        while ($line =~ /"patternProperties"\s*:\s*\{\s*("(?:[^"\\]|\\.)*+")/g) {
            add($1);
        }
    }
}

sub add {
    my ($quoted) = @_;
    my $s = eval { $json->decode($quoted) };

    $seen{$s} = 1 if defined $s && $s !~ /[\n\0]/;
}

my @patterns = sort keys %seen;
utf8::encode($_) for @patterns;

open my $out, '|-', "$b/t/grammar/re", 'patterns'
    or die "$b/t/grammar/re: $!\n";
print $out "$_\n" for @patterns;
close $out;
exit $? ? 1 : 0;
