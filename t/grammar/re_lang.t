#!/usr/bin/perl

# Regular languages against brute force.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/grammar/re_lang" or die "$b/t/grammar/re_lang: $!\n";
