#!/usr/bin/perl

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/serve/vocab" or die "$b/t/serve/vocab: $!\n";
