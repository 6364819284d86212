#!/usr/bin/perl

# JSON Schemas as grammars, byte by byte.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/grammar/json" or die "$b/t/grammar/json: $!\n";
