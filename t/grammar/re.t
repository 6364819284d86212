#!/usr/bin/perl

# Regular expressions against PCRE2, spellings and numbers.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/grammar/re" or die "$b/t/grammar/re: $!\n";
