#!/usr/bin/perl

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/serve/defaults" or die "$b/t/serve/defaults: $!\n";
