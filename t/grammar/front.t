#!/usr/bin/perl

# Front ends of grammars against other implementations' verdicts.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/grammar/front" or die "$b/t/grammar/front: $!\n";
