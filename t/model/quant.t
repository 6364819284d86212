#!/usr/bin/perl

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/model/quant" or die "$b/t/model/quant: $!\n";
