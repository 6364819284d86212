#!/usr/bin/perl

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/text/vocabs" or die "$b/t/text/vocabs: $!\n";
