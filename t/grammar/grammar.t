#!/usr/bin/perl

# Grammars and their states, as the scheduler sees them.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/grammar/grammar" or die "$b/t/grammar/grammar: $!\n";
