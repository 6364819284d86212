#!/usr/bin/perl

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/text/ids" or die "$b/t/text/ids: $!\n";
