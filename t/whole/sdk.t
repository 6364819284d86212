#!/usr/bin/perl

# The official Python SDK through the real NGINX and engine.

use strict;
use warnings;
use lib 't/lib';
use LLMTest;
use LLMWhole;

my $t = LLMWhole::start();
LLMWhole::python($t, 't/whole/sdk.py', 'http://127.0.0.1:' . $t->port . '/v1');
$t->done;
