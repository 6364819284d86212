#!/usr/bin/perl

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';

exec "$b/t/chat/format" or die "no $b/t/chat/format\n";
