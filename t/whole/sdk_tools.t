#!/usr/bin/perl

# Tools and structured output by the official Python SDK, instructor and
# LangChain, through the real NGINX and engine.

use strict;
use warnings;
use lib 't/lib';
use LLMTest;
use LLMWhole;

my $t = LLMWhole::start();
my $base = 'http://127.0.0.1:' . $t->port . '/v1';
LLMWhole::python($t, 't/whole/sdk_tools.py', $base);
LLMWhole::python({ venv => 'agents' }, 't/whole/agents.py', $base);
$t->done;
