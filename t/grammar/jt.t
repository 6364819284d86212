#!/usr/bin/perl

# Types of JSON Schemas: see jt.c.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/grammar/jt" or die "$b/t/grammar/jt: $!\n";
