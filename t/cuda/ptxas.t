#!/usr/bin/perl
# ptxas' reports on the kernels, as `make tests` leaves them beside the objects:
# every kernel is there for every architecture; none spills registers or has a
# stack frame (an array in local memory), but those named here with a reason.
use strict;
use warnings;
use Test::More;

# Kernels that may have a frame or spill, by a part of their mangled name.
my %allowed = (
    # 'cu_attn_simple' => 'slow by design, for any shape',
);

# Files without a kernel.
my %host_only = map { $_ => 1 } qw(launch.cu);

my $cuda = `util/cuda-home`;
chomp $cuda;

plan skip_all => 'no CUDA toolkit' if $cuda eq '';
plan skip_all => 'sanitizers: compiled for GPUs by make test only'
    if $ENV{SAN};

my $build = $ENV{LLM_BUILD}  || 'build';
my $archs = $ENV{CUDA_ARCHS} || archs_of('Makefile');
my @archs = split ' ', $archs;

ok(scalar @archs, "architectures: $archs");

for my $source (sort glob 'kernels/cuda/*.cu') {
    (my $report = "$build/obj/gpu/$source") =~ s/\.cu$/.ptxas/;
    (my $object = $report) =~ s/\.ptxas$/.o/;
    (my $file   = $source) =~ s{.*/}{};

    if (!-e $object || !-e $report) {
        fail("$file is compiled for GPUs");
        next;
    }

    my ($kernels, $bad) = read_report($report);

    if ($host_only{$file}) {
        is(scalar(map { keys %$_ } values %$kernels), 0, "$file: no kernels");
        next;
    }

    my ($first, @rest) = @archs;
    my $names = join ' ', sort keys %{ $kernels->{$first} || {} };

    isnt($names, '', "$file: kernels for $first");
    ok($names eq join(' ', sort keys %{ $kernels->{$_} || {} }),
        "$file: the same kernels for $_") for @rest;
    is_deeply($bad, [], "$file: no spills, no stack frames");
    diag_registers($file, $kernels);
}

done_testing();


# What CUDA_ARCHS is if nobody says otherwise.
sub archs_of {
    my ($makefile) = @_;

    open my $f, '<', $makefile or die "$makefile: $!";
    while (my $line = <$f>) {
        return $1 if $line =~ /^CUDA_ARCHS\s*\?=\s*(.*\S)/;
    }
    return '';
}


# { arch => { kernel => registers } }, and lines about what is wrong.
sub read_report {
    my ($path) = @_;
    my (%kernels, @bad, $kernel, $arch, $function);

    open my $f, '<', $path or die "$path: $!";
    while (my $line = <$f>) {
        if ($line =~ /Compiling entry function '(\S+)' for '(\S+)'/) {
            ($kernel, $arch) = ($1, $2);
            $kernels{$arch}{$kernel} = 0;

        } elsif ($line =~ /Function properties for (\S+)/) {
            $function = $1;

        } elsif ($line =~ /(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill/) {
            my ($frame, $stores, $loads) = ($1, $2, $3);
            my $why = (grep { index($function, $_) >= 0 } keys %allowed)[0];

            push @bad, "$function, $arch: frame $frame, spills $stores and $loads bytes"
                if $frame + $stores + $loads > 0 && !defined $why;

        } elsif ($line =~ /Used (\d+) registers/) {
            $kernels{$arch}{$kernel} = $1 if defined $kernel;
        }
    }

    return (\%kernels, \@bad);
}


sub diag_registers {
    my ($file, $kernels) = @_;
    my @most;

    for my $arch (sort keys %$kernels) {
        my $of = $kernels->{$arch};
        my ($name) = sort { $of->{$b} <=> $of->{$a} || $a cmp $b } keys %$of;

        push @most, "$arch $of->{$name} ($name)" if defined $name;
    }
    diag("$file: " . join('; ', @most));
}
