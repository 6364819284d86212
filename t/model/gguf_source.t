#!/usr/bin/perl

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/model/gguf_source" 
    or die "$b/t/model/gguf_source: $!\n";
