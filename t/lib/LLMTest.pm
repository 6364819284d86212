package LLMTest;

# Starts NGINX with our module and an engine (the fake one of t/module, or
# the real one), talks to them, and at the end always looks for what no test
# should have to ask for: alerts, sanitizer reports, leaked descriptors,
# slots and KV pages, processes that do not end in order.
#
#   my $t = LLMTest->new->conf(location => 'llm_ping_interval 1s;');
#   $t->engine->run;
#   is($t->post('/v1/chat/completions', chat())->{status}, 200);
#   $t->done;
#
# Core Perl only. Nothing sleeps for a fixed time: what takes time is polled
# for (wait_for), and the fake engine waits for "go WORD" where an order of
# events matters.
#
# Environment: LLM_BUILD (build), SAN (asan: the static binary of
# util/build-nginx-san), TEST_NGINX_BINARY, TEST_NGINX_GLOBALS (lines for the
# head of the configuration), TEST_NGINX_LEAVE (keeps the folder).

use strict;
use warnings;

use Cwd qw(getcwd);
use Exporter qw(import);
use Fcntl qw(F_SETFL O_NONBLOCK);
use File::Temp qw(tempdir);
use IO::Select;
use IO::Socket::INET;
use JSON::PP ();
use POSIX qw(:sys_wait_h);
use Socket qw(SOL_SOCKET SO_RCVBUF);
use Scalar::Util qw(weaken);
use Test::More;
use Time::HiRes qw(time sleep);

our @EXPORT = qw(chat sse json wait_for stats);

my $root = getcwd();
my $san = $ENV{SAN} || '';
my $build = $ENV{LLM_BUILD} || ($san ? "build/$san" : 'build');
$build = "$root/$build" unless $build =~ m{^/};
my $binary = $ENV{TEST_NGINX_BINARY} || ($san eq 'asan' ? "$build/nginx" : 'nginx');
$binary = "$root/$binary" if $binary =~ m{^[^/].*/};
($binary) = ((grep { -x } map { "$_/$binary" } split(/:/, $ENV{PATH}), '/usr/sbin'), $binary)
    unless $binary =~ m{^/}; # a binary upgrade needs the whole path
my $json = JSON::PP->new->canonical;
my @all;

$SIG{PIPE} = 'IGNORE';
$ENV{ASAN_OPTIONS} ||= 'detect_leaks=0:exitcode=99';
$ENV{UBSAN_OPTIONS} ||= 'print_stacktrace=1';


# --- small helpers ---------------------------------------------------------

sub json { return $json->encode($_[0]) }

# The body of a chat request; $script is for the fake engine.
sub chat {
    my ($script, %more) = @_;
    return $json->encode({ model => 'smollm2',
        messages => [{ role => 'user', content => 'Hi' }],
        stream => JSON::PP::true, ($script ? (script => $script) : ()), %more });
}

# A good stream around the steps given.
sub sse {
    return [['admit', {}], ['head', 200, 'sse'], @_,
        ['data', "data: [DONE]\n\n", { tokens => 0 }], ['end', {}]];
}

# Polls until the code returns something true; returns that.
sub wait_for(&;$) {
    my ($code, $timeout) = @_;
    my $end = time + ($timeout || 10);
    for (;;) {
        my $r = $code->();
        return $r if $r;
        return if time > $end;
        sleep 0.01;
    }
}

# The key=value pairs of a line of the fake engine's log.
sub stats {
    my ($line) = @_;
    return {} unless defined $line;
    my %h = $line =~ /(\w+)=('[^']*'|\S+)/g;
    s/^'(.*)'$/$1/ for values %h;
    return \%h;
}

sub slurp {
    my ($name) = @_;
    open my $f, '<', $name or return '';
    local $/;
    my $s = <$f>;
    return defined $s ? $s : '';
}


# --- set-up ----------------------------------------------------------------

# daemon: NGINX goes to the background by itself, as a binary upgrade needs;
# its exit status is then not known.
sub new {
    my ($class, %o) = @_;
    my $v = `$binary -V 2>&1`;
    plan(skip_all => "no NGINX: $binary") unless defined $v && $v =~ /nginx/;
    my $static = $v =~ /--add-module=/ || $ENV{LLMTEST_DEV};
    my $so = "$build/ngx_http_llm_module.so";
    BAIL_OUT("no module: $so (make build)") unless $static || -e $so;

    my $s = bless { dir => tempdir('llm-XXXXXX', TMPDIR => 1,
        CLEANUP => !$ENV{TEST_NGINX_LEAVE}), allow => [], version => $v,
        ports => [], life => 0, pid => $$, fds => {}, %o }, $class;
    chmod 0755, $s->{dir};
    mkdir "$s->{dir}/$_" for qw(tmp bodies);
    $s->{sock} = "$s->{dir}/engine.sock";
    $s->{globals} = join '', map { "$_\n" }
        ($static ? () : "load_module $so;"),
        ($> == 0 ? 'user root root;' : ()),
        'daemon ' . ($o{daemon} ? 'on;' : 'off;'), 'pid nginx.pid;', $ENV{TEST_NGINX_GLOBALS} || ();
    push @all, $s;
    diag("left in $s->{dir}") if $ENV{TEST_NGINX_LEAVE};
    return $s;
}

sub dir { return $_[0]{dir} }

sub port {
    my ($s, $n) = @_;
    return $s->{ports}[$n || 0] ||= do {
        my $l = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die $!;
        $l->sockport;
    };
}

sub expand {
    my ($s, $text) = @_;
    my $http = join "\n", map({ "${_}_temp_path tmp/$_;" }
        qw(client_body proxy fastcgi uwsgi scgi)), 'access_log access.log test;';
    my %v = (DIR => $s->{dir}, SOCK => $s->{sock}, GLOBALS => $s->{globals},
        HTTP => "log_format test '\$request_method \$uri \$status' "
            . "' sent=\$body_bytes_sent rt=\$request_time ' $s->{format};\n$http");
    $text =~ s/%%PORT_(\d+)%%/$s->port($1)/ge;
    $text =~ s/%%(\w+)%%/exists $v{$1} ? $v{$1} : "%%$1%%"/ge;
    return $text =~ /%%[A-Z]+%%/ ? $s->expand($text) : $text;
}

sub write {
    my ($s, $name, $text) = @_;
    open my $f, '>', "$s->{dir}/$name" or die "$name: $!";
    print $f $text;
    close $f;
    return $s;
}

# The usual configuration with parts of it replaced or added to:
# main, events, http, engine, model, server, location, pass, workers, format, listen.
sub conf {
    my ($s, %o) = @_;
    my %d = (main => '', events => '', http => '', engine => '', server => '', location => '',
        pass => 'llm_pass;', workers => 1, listen => '127.0.0.1:%%PORT_0%%',
        model => "llm_model smollm2 { engine local; weights a.gguf; names default; }",
        %o);
    $s->{format} = $d{format} || "''";
    return $s->conf_raw(<<"EOC");
%%GLOBALS%%
worker_processes $d{workers};
error_log error.log @{[$ENV{TEST_NGINX_DEBUG} ? 'debug' : 'info']};
$d{main}
events { worker_connections 512; $d{events} }
http {
    %%HTTP%%
    client_max_body_size 32m;
    limit_req_status 429;
    limit_conn_status 429;
    llm_engine local { socket unix:%%SOCK%%; $d{engine} }
    $d{model}
    $d{http}
    server {
        listen $d{listen};
        server_name localhost;
        $d{server}
        location /v1/ { $d{pass} $d{location} }
        location = /livez { llm_health live; }
        location = /readyz { llm_health; }
        location = /metrics { llm_metrics; }
        location = /plain { return 200 "plain\\n"; }
    }
}
EOC
}

sub conf_raw {
    my ($s, $text) = @_;
    $s->{format} = "''" unless defined $s->{format};
    return $s->write('nginx.conf', $s->expand($text));
}

sub allow { my ($s, @re) = @_; push @{ $s->{allow} }, @re; return $s }


# --- processes -------------------------------------------------------------

sub spawn {
    my ($s, $name, $in, @cmd) = @_;
    my $pid = fork;
    die "fork: $!" unless defined $pid;
    if ($pid == 0) {
        open STDIN, '<&', $in or POSIX::_exit(9) if $in;
        open STDOUT, '>>', "$s->{dir}/$name.out";
        open STDERR, '>&', \*STDOUT;
        exec(($ENV{LLMTEST_ENGINE_WRAP} && $name =~ /^engine/ ? (split / /, $ENV{LLMTEST_ENGINE_WRAP}) : ()), @cmd) or POSIX::_exit(127);
    }
    return $pid;
}

# Waits for a process of ours; its wait status, or undef.
sub reap {
    my ($s, $pid, $timeout) = @_;
    my $st;
    if ($s->{daemon} && $pid == ($s->{nginx} || 0)) {
        return $s->gone($pid, $timeout || 10) ? 0 : undef;
    }
    wait_for { waitpid($pid, WNOHANG) == $pid && do { $st = $?; 1 } } $timeout || 10;
    return $st;
}

# Starts the fake engine.
sub engine {
    my ($s, @opts) = @_;
    $s->{life}++;
    my $log = "$s->{dir}/engine$s->{life}.log";
    pipe(my $r, my $w) or die $!;
    $w->autoflush(1);
    my $pid = $s->spawn("engine$s->{life}", $r, "$build/t/module/fake_engine",
        '--socket', $s->{sock}, '--log', $log, '--bodies', "$s->{dir}/bodies",
        '--life', $s->{life}, @opts);
    $s->{engine} = { pid => $pid, log => $log, in => $w, fake => 1 };
    $s->engine_log(qr/listening/) or die 'the fake engine does not start: '
        . slurp("$s->{dir}/engine$s->{life}.out");
    return $s;
}

# Starts the real engine: options as on its command line.
sub engine_real {
    my ($s, @opts) = @_;
    $s->{life}++;
    my $pid = $s->spawn("engine$s->{life}", undef, $ENV{LLM_ENGINE} || "$build/ngx-llm-engine",
        '--socket', $s->{sock}, @opts);
    $s->{engine} = { pid => $pid, log => "$s->{dir}/engine$s->{life}.out" };
    wait_for { -S $s->{sock} } 20 or die 'the engine does not start: '
        . slurp($s->{engine}{log});
    return $s;
}

# Sends a signal (TERM) and waits; the wait status.
sub engine_stop {
    my ($s, $sig) = @_;
    my $e = delete $s->{engine} or return;
    kill $sig || 'TERM', $e->{pid};
    my $st = $s->reap($e->{pid});
    kill 'KILL', $e->{pid} unless defined $st;
    return $st;
}

# An engine that a script has killed: collects it.
sub engine_gone {
    my ($s) = @_;
    my $e = delete $s->{engine} or return;
    my $st = $s->reap($e->{pid});
    kill 'KILL', $e->{pid} unless defined $st;
    return $st;
}

sub tell { my ($s, $line) = @_; print { $s->{engine}{in} } "$line\n"; return $s }
sub go   { my ($s, $word) = @_; return $s->tell("go $word") }

# The first (or nth) line of the engine's log that matches; waits for it.
sub engine_log {
    my ($s, $re, %o) = @_;
    my $n = $o{n} || 1;
    my @l;
    wait_for {
        @l = grep { $_ =~ $re } split /\n/, slurp($s->{engine}{log});
        @l >= $n;
    } defined $o{timeout} ? $o{timeout} || 0.001 : 10;
    return $l[$n - 1];
}

sub engine_count {
    my ($s, $re) = @_;
    return scalar grep { $_ =~ $re } split /\n/, slurp($s->{engine}{log});
}

# Starts NGINX and waits until it answers and, where there is an engine,
# until each worker is connected; marks the workers' descriptors.
sub run {
    my ($s, %o) = @_;
    $s->{nginx} = $s->spawn('nginx', undef, $binary, '-p', "$s->{dir}/",
        '-e', 'error.log', '-c', 'nginx.conf');
    if ($s->{daemon}) {
        $s->reap(delete $s->{nginx}, 20);
        wait_for { ($s->{nginx}) = slurp("$s->{dir}/nginx.pid") =~ /(\d+)/ } 20;
    }
    wait_for {
        IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $s->port)
            || waitpid($s->{nginx}, WNOHANG) > 0
    } 20;
    kill(0, $s->{nginx}) or die "NGINX does not start:\n"
        . slurp("$s->{dir}/nginx.out") . slurp("$s->{dir}/error.log");
    return $o{unconnected} ? $s : $s->connected;
}

# Waits until all workers of now are connected; marks their descriptors.
sub connected {
    my ($s) = @_;
    my @w = $s->workers;
    if ($s->{engine} && $s->{engine}{fake}) {
        $s->engine_log(qr/manifest pid=$_ /) or diag("worker $_ is not connected") for @w;
    } elsif ($s->{engine}) {
        wait_for { grep({ slurp("/proc/$_/maps") =~ /memfd/ } @w) == @w };
    }
    wait_for { !grep { !$s->settled($_) } @w } 2;
    $s->{fds}{$_} = $s->fds($_) for @w;
    return $s;
}

# No client connection is open in this worker.
sub settled {
    my ($s, $pid) = @_;
    my $n = $s->fds($pid);
    my $was = $s->{seen}{$pid};
    $s->{seen}{$pid} = $n;
    return defined $was && $was == $n && $n > 0;
}

sub children {
    my ($s) = @_;
    my @c = split ' ', slurp("/proc/$s->{nginx}/task/$s->{nginx}/children");
    return map { [$_, slurp("/proc/$_/cmdline")] } @c;
}

# Pids of the workers that are not shutting down.
sub workers {
    my ($s) = @_;
    my @w;
    wait_for { @w = map { $_->[0] } grep { $_->[1] =~ /worker process(?! is)/ } $s->children };
    return @w;
}

sub fds {
    my ($s, $pid) = @_;
    opendir my $d, "/proc/$pid/fd" or return 0;
    return scalar grep { /\d/ } readdir $d;
}

sub signal { my ($s, $sig) = @_; kill $sig, $s->{nginx}; return $s }

# Reloads and waits for new workers; the pids of the old ones.
sub reload {
    my ($s) = @_;
    my @old = $s->workers;
    my %old = map { $_ => 1 } @old;
    $s->signal('HUP');
    wait_for { my @w = grep { !$old{$_} } $s->workers; @w == @old } or diag('no reload');
    # The old ones have been told, too: neither answers nor counts any more.
    wait_for { !grep { $old{$_} } $s->workers } or diag('old workers go on');
    $s->connected;
    return @old;
}

sub nginx_t {
    my ($s) = @_;
    my $out = `$binary -t -p $s->{dir}/ -e error.log -c nginx.conf 2>&1`;
    return ($? >> 8, $out);
}

# True once this process, ours or not, has ended.
sub gone {
    my ($s, $pid, $timeout) = @_;
    return wait_for { slurp("/proc/$pid/stat") !~ /\) [^Z]/ } $timeout || 5;
}

sub error_log  { return slurp("$_[0]{dir}/error.log") }

# The last line of the access log, once there are n lines (or one that matches).
sub access_log {
    my ($s, $what) = @_;
    my @l;
    wait_for {
        @l = split /\n/, slurp("$s->{dir}/access.log");
        @l = grep { $_ =~ $what } @l if ref $what;
        ref $what ? @l : @l >= ($what || 1);
    };
    return $l[-1];
}


# --- HTTP ------------------------------------------------------------------

# Opens a connection. rcvbuf: size of the socket's receive buffer.
sub client {
    my ($s, %o) = @_;
    my $c = IO::Socket::INET->new(Proto => 'tcp');
    $c = $c->configure({ PeerAddr => '127.0.0.1', PeerPort => $o{port} || $s->port })
        unless $o{rcvbuf};
    if ($o{rcvbuf}) {
        socket($c = IO::Socket::INET->new, Socket::PF_INET(), Socket::SOCK_STREAM(), 0);
        setsockopt($c, SOL_SOCKET, SO_RCVBUF, $o{rcvbuf});
        connect($c, Socket::sockaddr_in($o{port} || $s->port, Socket::inet_aton('127.0.0.1')));
    }
    die "connect: $!" unless $c && defined fileno $c;
    binmode $c;
    my $conn = bless { s => $c, in => '', body => '' }, 'LLMTest::Conn';
    weaken($s->{clients}{ ++$s->{opened} } = $conn); # done() closes what is left
    return $conn;
}

# Sends a request, on a connection of its own unless `on` names one. Returns
# the connection. headers: a list; body; version; chunked: sizes of chunks.
sub request {
    my ($s, $method, $uri, %o) = @_;
    my $c = $o{on} || $s->client(%o);
    my $v = $o{version} || '1.1';
    my @h = ('Host: localhost', @{ $o{headers} || [] });
    my $body = '';
    if (defined $o{body} && $o{chunked}) {
        push @h, 'Transfer-Encoding: chunked';
        for (my $i = 0; $i < length $o{body}; $i += $o{chunked}) {
            my $p = substr $o{body}, $i, $o{chunked};
            $body .= sprintf "%x\r\n%s\r\n", length $p, $p;
        }
        $body .= "0\r\n\r\n";
    } elsif (defined $o{body}) {
        push @h, 'Content-Length: ' . length $o{body};
        push @h, 'Content-Type: application/json' unless grep { /^content-type/i } @h;
        $body = $o{body};
    }
    # closed by us, too, once it is read: NGINX lingers otherwise
    $c->{once} = !$o{on} && !$o{keepalive} && $v ne '1.0';
    push @h, 'Connection: close' if $c->{once};
    $c->{method} = $method;
    $c->send("$method $uri HTTP/$v\r\n" . join('', map { "$_\r\n" } @h) . "\r\n$body");
    return $c;
}

sub get  { my ($s, $uri, %o) = @_; return $s->request('GET', $uri, %o)->response }

sub post {
    my ($s, $uri, $body, %o) = @_;
    return $s->request('POST', $uri, body => $body, %o)->response;
}

# A chat stream with this script: returns the connection, nothing read yet.
sub stream {
    my ($s, $script, %o) = @_;
    return $s->request('POST', $o{uri} || '/v1/chat/completions',
        body => chat($script, %{ $o{members} || {} }), %o);
}

sub curl {
    my ($s, @args) = @_;
    open my $p, '-|', 'curl', '-sS', '--max-time', 20, @args or die "curl: $!";
    local $/;
    my $out = <$p>;
    close $p;
    return ($out, $? >> 8) if wantarray;
    return $out;
}


# --- the end ---------------------------------------------------------------

sub done {
    my ($s) = @_;
    my $e = $s->{engine};
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    $_->close for grep { $_ } values %{ $s->{clients} || {} };
    if ($s->{nginx}) {
        my @w = grep { $s->{fds}{$_} && kill 0, $_ } $s->workers;
        my @left;
        wait_for {
            @left = grep { $s->fds($_) > $s->{fds}{$_} } @w;
            !@left;
        } 5;
        ok(!@left, 'no descriptor is leaked') or diag(map {
            "worker $_: $s->{fds}{$_} descriptors, now " . $s->fds($_) . ": "
            . join(' ', map { readlink($_) || '?' } glob("/proc/$_/fd/*")) } @left);
    }
    $s->check_engine($e) if $e;

    if (my $pid = delete $s->{nginx}) {
        kill 'QUIT', $pid;
        my $st = $s->reap($s->{nginx} = $pid, 15);
        is($st, 0, 'NGINX ends in order');
        delete $s->{nginx} if defined $st;
    }
    if ($e) {
        is($s->engine_stop, 0, 'the engine ends in order');
    }
    $s->check_logs;
    done_testing();
}

sub check_engine {
    my ($s, $e) = @_;
    if (!$e->{fake}) {
        my $m = '';
        wait_for { $m = $s->get('/metrics')->{body};
            $m =~ /^vllm:num_requests_running\S* 0(\.0)?$/m } 5;
        like($m, qr/^vllm:num_requests_running\S* 0(\.0)?$/m, 'no sequence is leaked');
        unlike($m, qr/^vllm:kv_cache_usage_perc\S* (?!0(\.0+)?$)/m, 'no KV page is leaked');
        return;
    }
    my $n = $s->engine_count(qr/status inflight/);
    my $last = '';
    wait_for { $s->tell('status');
        ($last) = $s->engine_log(qr/status inflight/, n => ++$n, timeout => 1);
        ($last || '') =~ /inflight=0 / } 5;
    like($last, qr/inflight=0 /, 'no slot is leaked');
}

sub check_logs {
    my ($s) = @_;
    my (@bad, @san);
    for my $name (glob "$s->{dir}/*.log $s->{dir}/*.out") {
        for (split /\n/, slurp($name)) {
            push @san, $_ if /Sanitizer|runtime error:/;
            push @bad, $_ if /\[(alert|crit|emerg)\]| FAULT /;
        }
    }
    for my $re (@{ $s->{allow} }) {
        @bad = grep { $_ !~ $re } @bad;
    }
    is(join("\n", @bad[0 .. ($#bad > 9 ? 9 : $#bad)]), '', 'no alert, no fault of the protocol');
    is(join("\n", @san[0 .. ($#san > 9 ? 9 : $#san)]), '', 'no sanitizer report');
    diag(slurp("$s->{dir}/nginx.out")) if @san;
}

END {
    for my $s (grep { $_->{pid} == $$ } @all) {
        my $st = $?;
        for my $pid (grep { $_ } $s->{nginx}, $s->{engine} && $s->{engine}{pid}) {
            my @kids = split ' ', slurp("/proc/$pid/task/$pid/children");
            kill 'KILL', $pid, @kids;
            waitpid $pid, 0;
        }
        $? = $st;
    }
}


package LLMTest::Conn;

# A client's connection: reads heads, bodies of any framing, and events.

use Time::HiRes qw(time);

sub send {
    my ($c, $data) = @_;
    my $off = 0;
    while ($off < length $data) {
        my $n = syswrite $c->{s}, $data, length($data) - $off, $off;
        return 0 unless defined $n;
        $off += $n;
    }
    return 1;
}

# Reads something: its length, 0 at the end, undef after $timeout.
sub more {
    my ($c, $timeout) = @_;
    return 0 if $c->{eof};
    my $left = $timeout;
    return unless IO::Select->new($c->{s})->can_read($left < 0 ? 0 : $left);
    my $n = sysread $c->{s}, $c->{in}, 262144, length $c->{in};
    $c->{eof} = 1 unless $n;
    return $n || 0;
}

sub head {
    my ($c, $timeout) = @_;
    my $end = time + ($timeout || 10);
    my $head;
    until ($c->{in} =~ s/^(.*?)\r\n\r\n//s and $head = $1) {
        return unless $c->more($end - time);
    }
    my ($first, @h) = split /\r\n/, $head;
    my ($proto, $status) = $first =~ m{^HTTP/(\S+) (\d+)};
    my %h;
    for (@h) {
        my ($k, $v) = /^([^:]+):\s*(.*)$/ or next;
        $k = lc $k;
        $h{$k} = exists $h{$k} ? "$h{$k}, $v" : $v;
    }
    @$c{qw(body done chunk left)} = ('', 0, undef, undef);
    $c->{chunked} = ($h{'transfer-encoding'} || '') eq 'chunked';
    $c->{left} = $h{'content-length'};
    $c->{done} = 1 if ($c->{method} || '') eq 'HEAD' || $status == 204 || $status < 200;
    $c->{res} = { status => $status, proto => $proto, headers => \%h, head => $head, body => '' };
    return $c->{res};
}

# Moves what has come of the body from {in} to {body}.
sub decode {
    my ($c) = @_;
    return if $c->{done};
    if ($c->{chunked}) {
        for (;;) {
            if (!$c->{chunk}) {
                $c->{in} =~ s/^(?:\r\n)?([0-9a-fA-F]+)\r\n// or return;
                $c->{chunk} = hex $1;
                push @{ $c->{chunks} }, $c->{chunk};
                if ($c->{chunk} == 0) {
                    $c->{ends} = 1;
                }
            }
            if ($c->{ends}) {
                $c->{in} =~ s/^\r\n// or return;
                delete $c->{ends};
                $c->{done} = 1;
                return;
            }
            my $p = substr $c->{in}, 0, $c->{chunk}, '';
            $c->{body} .= $p;
            $c->{chunk} -= length $p;
            return if $c->{in} eq '';
        }
    }
    my $n = defined $c->{left} ? $c->{left} : length $c->{in};
    my $p = substr $c->{in}, 0, $n, '';
    $c->{body} .= $p;
    if (defined $c->{left}) {
        $c->{left} -= length $p;
        $c->{done} = 1 if $c->{left} == 0;
    } elsif ($c->{eof}) {
        $c->{done} = 1;
    }
}

# The next event (or comment) with its blank line; undef at the end or after
# $timeout.
sub event {
    my ($c, $timeout) = @_;
    my $end = time + (defined $timeout ? $timeout : 10);
    $c->head($timeout) or return unless $c->{res};
    for (;;) {
        $c->decode;
        return $1 if $c->{body} =~ s/^(.*?\n\n)//s;
        return if $c->{done};
        my $n = $c->more($end - time);
        return unless defined $n;
        if ($n == 0) {
            $c->decode;
            return $1 if $c->{body} =~ s/^(.*?\n\n)//s;
            return;
        }
    }
}

# All events to the end, comments left out.
sub events {
    my ($c, $timeout) = @_;
    my ($e, @e);
    while (defined($e = $c->event($timeout))) {
        push @e, $e unless $e =~ /^:/;
    }
    $c->close if $c->{once} && $c->{done};
    return @e;
}

# The whole response.
sub response {
    my ($c, $timeout) = @_;
    my $end = time + ($timeout || 20);
    my $r = $c->head($timeout) or return { status => 0, headers => {}, body => '' };
    for (;;) {
        $c->decode;
        last if $c->{done};
        my $n = $c->more($end - time);
        last unless defined $n;
        if ($n == 0) {
            $c->decode;
            last;
        }
    }
    $r->{body} = $c->{body};
    $r->{whole} = $c->{done};
    $r->{json} = eval { $json->decode($r->{body}) } if length $r->{body} < 1e6;
    $r->{error} = ref $r->{json} eq 'HASH' ? $r->{json}{error} : undef;
    delete $c->{res};
    $c->close if $c->{once} && $c->{done};
    return $r;
}

# True once the server has closed.
sub closed {
    my ($c, $timeout) = @_;
    my $end = time + ($timeout || 10);
    while (!$c->{eof}) {
        return 0 unless defined $c->more($end - time);
    }
    return 1;
}

sub half_close { shutdown $_[0]{s}, 1 }
sub close { CORE::close $_[0]{s} if $_[0]{s} }

1;
