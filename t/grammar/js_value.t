#!/usr/bin/perl

# JSON texts as trees.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/grammar/js_value" or die "$b/t/grammar/js_value: $!\n";
