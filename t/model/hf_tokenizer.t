#!/usr/bin/perl
my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/model/hf_tokenizer" or die "$b/t/model/hf_tokenizer: $!\n";
