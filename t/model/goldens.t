#!/usr/bin/perl

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/model/goldens" or die "$b/t/model/goldens: $!\n";
