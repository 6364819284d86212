#!/usr/bin/perl

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/model/safetensors" 
    or die "$b/t/model/safetensors: $!\n";
