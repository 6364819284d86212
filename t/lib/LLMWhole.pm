package LLMWhole;

# Whole-way tests: the real engine with the default model behind the real
# NGINX, and programs in Python that talk to them.

use strict;
use warnings;

use Cwd qw(getcwd);
use LLMTest;
use Test::More;

our $model = 'SmolLM2-135M-Instruct.Q4_1.gguf';

sub cache { return $ENV{NGX_LLM_CACHE} || "$ENV{HOME}/.cache/ngx-llm" }

# Engine options for tests: little memory, and all is seen in the log.
sub options {
    return ('--model-root', cache(), '--memory', '3g', '--log-level', 'info', @_);
}

sub need_model {
    my $path = cache() . "/$model";
    plan(skip_all => "no default model: $path (util/fetch-model smollm2-135m)")
        unless -f $path;
    return $path;
}

# engine => [options], and what LLMTest::conf() takes.
sub start {
    my (%o) = @_;
    need_model();
    my $engine = delete $o{engine} || [];
    my $t = LLMTest->new;
    $o{model} ||= "llm_model smollm2 { engine local; weights $model; names default; }";
    $t->conf(%o);
    $t->engine_real(options(@$engine));
    $t->run;
    ready($t) or die 'not ready';
    return $t;
}

sub ready {
    my ($t, $timeout) = @_;
    return wait_for { $t->get('/readyz')->{status} == 200 } $timeout || 120;
}

# Runs a TAP program in Python as one subtest of ours; the virtual
# environment is `test` but for { venv => NAME } in place of the server.
sub python {
    my ($t, $script, @args) = @_;
    my $venv = ref $t eq 'HASH' ? $t->{venv} : 'test';
    my $python = cache() . "/venv-$venv/bin/python";
    SKIP: {
        skip "no Python environment venv-$venv (util/deps test)", 1 unless -x $python;
        subtest $script => sub {
            open my $p, '-|', $python, $script, @args or die "$python: $!";
            while (<$p>) {
                chomp;
                if (/^(not )?ok \d+ - (.*)/) { ok(!$1, $2) }
                elsif (/^# (.*)/)            { diag($1) }
                elsif (!/^1\.\.\d+$/)        { diag("unexpected: $_") }
            }
            close $p;
            is($? >> 8, 0, 'exit status');
            done_testing();
        };
    }
}

1;
