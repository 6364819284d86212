#!/usr/bin/perl

# The parser against a naive recogniser, all short strings.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/grammar/gr" or die "$b/t/grammar/gr: $!\n";
