#!/usr/bin/perl

# `make install` puts everything where it belongs, and it works from there.

use strict;
use warnings;
use lib 't/lib';
use LLMTest;
use Test::More;

plan(skip_all => 'the module is not built for the plain NGINX') unless -e 'build/ngx_http_llm_module.so';

my $t = LLMTest->new;
my $d = $t->dir . '/root';
my $out = `make -s install DESTDIR=$d PREFIX=/usr MAKEFLAGS= 2>&1`;
is($?, 0, 'make install') or diag($out);
ok(-x "$d/usr/sbin/ngx-llm-engine", 'the engine');
ok(-f "$d/usr/lib/nginx/modules/ngx_http_llm_module.so", 'the module');
ok(-f "$d/usr/share/ngx-llm/$_", $_) for qw(minimal.conf gateway.conf README.md LICENSE);
like(scalar `$d/usr/sbin/ngx-llm-engine --version`, qr/^ngx-llm-engine \d/, 'the engine runs');
$t->conf_raw("load_module $d/usr/lib/nginx/modules/ngx_http_llm_module.so;\npid nginx.pid;\n"
    . "error_log error.log;\nevents {}\nhttp { llm_engine a { socket unix:/run/a.sock; } }\n");
my ($rc, $text) = $t->nginx_t;
is($rc, 0, 'the module loads') or diag($text);
done_testing();
