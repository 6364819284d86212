#!/usr/bin/perl

# The parser over random machines, and its work.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/grammar/gr_net" or die "$b/t/grammar/gr_net: $!\n";
