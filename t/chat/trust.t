#!/usr/bin/perl
my $b = $ENV{LLM_BUILD} || 'build';
exec "$b/t/chat/trust" or die;
