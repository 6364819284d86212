#!/usr/bin/perl

# Token masks over the vocabularies of real models.

use strict;
use warnings;

my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/grammar/mask_vocab" or die "$b/t/grammar/mask_vocab: $!\n";
