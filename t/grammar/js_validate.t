#!/usr/bin/perl

# The validator of JSON Schema.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/grammar/js_validate" or die "$b/t/grammar/js_validate: $!\n";
