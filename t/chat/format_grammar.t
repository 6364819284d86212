#!/usr/bin/perl

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';

exec "$b/t/chat/format_grammar" or die "no $b/t/chat/format_grammar\n";
