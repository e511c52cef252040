"""Idle instances make room: the rule, and the whole of it on a machine with little room."""

from random import Random

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import succeed
from twisted.trial.unittest import SynchronousTestCase

from tests.autoscaler.machine import Machine
from tests.autoscaler.support import service
from waiter.autoscaler.eviction import Candidate, choose, needs_another
from waiter.errors import NoInstanceInTime
from waiter.model.instance import Instance
from waiter.model.load import ServiceLoad
from waiter.model.outcome import Outcome
from waiter.model.resources import Resources
from waiter.model.routing import InstanceCounts, ServiceState
from waiter.reservation.lease import Lease


def mib(mem):
    return Resources(cpus=0.1, mem=mem)


def idle(name, mem, *used_at, spare=0, goes=True):
    """A service whose idle instances were used at these times."""
    return Candidate(
        service_id=name,
        need=mib(mem),
        used_at={f"{name}.{number}": at for number, at in enumerate(used_at)},
        spare=spare,
        total=len(used_at) if goes else None,
    )


ROOM = Resources(cpus=100, mem=0)


class ChoosingTests(SynchronousTestCase):
    def chosen(self, mem, *candidates, room=ROOM):
        victims = choose(mib(mem), room, candidates)
        if victims is None:
            return None
        return {victim.service_id: "goes" if victim.goes else victim.instance_ids for victim in victims}

    def test_thoseUnusedForLongestGo(self):
        candidates = [idle("a", 100, 3), idle("b", 100, 1), idle("c", 100, 2)]
        self.assertEqual(self.chosen(100, *candidates), {"b": "goes"})
        self.assertEqual(self.chosen(150, *candidates), {"b": "goes", "c": "goes"})

    def test_whereThereIsRoomNobodyGoes(self):
        self.assertEqual(self.chosen(100, idle("a", 100, 1), room=Resources(cpus=1, mem=100)), {})

    def test_whatIsFreeIsUsed(self):
        candidates = [idle("a", 100, 1), idle("b", 100, 2)]
        self.assertEqual(self.chosen(150, *candidates, room=Resources(cpus=1, mem=50)), {"a": "goes"})

    def test_nobodyGoesInVain(self):
        self.assertIsNone(self.chosen(300, idle("a", 100, 1), idle("b", 100, 2)))

    def test_whoIsNotNeededAfterAllStays(self):
        self.assertEqual(self.chosen(100, idle("small", 10, 1), idle("big", 100, 2)), {"big": "goes"})

    def test_whoLacksOnlyCpusIsHelpedByThoseWhoHoldCpus(self):
        thin = Candidate(service_id="thin", need=Resources(cpus=0, mem=500), used_at={"t": 1}, spare=0, total=1)
        thick = Candidate(service_id="thick", need=Resources(cpus=2, mem=1), used_at={"k": 2}, spare=0, total=1)
        victims = choose(Resources(cpus=2, mem=1), Resources(cpus=1, mem=1000), [thin, thick])
        self.assertEqual([victim.service_id for victim in victims], ["thick"])

    def test_spareInstancesGoBeforeTheServiceDoes(self):
        self.assertEqual(self.chosen(100, idle("a", 100, 1, 2, 3, spare=2)), {"a": ("a.0",)})
        self.assertEqual(self.chosen(200, idle("a", 100, 3, 2, 1, spare=2)), {"a": ("a.2", "a.1")})
        self.assertEqual(self.chosen(300, idle("a", 100, 1, 2, 3, spare=2)), {"a": "goes"})

    def test_aServiceInUseKeepsWhatItNeeds(self):
        self.assertIsNone(self.chosen(200, idle("a", 100, 1, 2, spare=1, goes=False)))

    def test_aWholeServiceGoesByItsLastUse(self):
        candidates = [idle("a", 100, 1, 9), idle("b", 100, 5)]
        self.assertEqual(self.chosen(100, *candidates), {"b": "goes"})

    def test_instancesUsedAtTheSameTimeAreCountedOnce(self):
        self.assertIsNone(self.chosen(300, idle("a", 100, 1, 1, spare=1)))

    @given(
        st.integers(0, 500),
        st.lists(
            st.tuples(
                st.integers(1, 200),
                st.lists(st.integers(0, 50), min_size=1, max_size=4),
                st.integers(0, 4),
                st.booleans(),
            ),
            max_size=6,
        ),
    )
    def test_itIsEnoughAndNotTooMuch(self, needed, kinds):
        candidates = [
            idle(f"s{number}", mem, *used, spare=spare, goes=goes)
            for number, (mem, used, spare, goes) in enumerate(kinds)
        ]
        victims = choose(mib(needed), ROOM, candidates)
        most = sum(
            each.need.mem * (each.total if each.total is not None else min(each.spare, len(each.used_at)))
            for each in candidates
        )
        if victims is None:
            self.assertLess(most, needed)
            return
        gains = [victim.gives.mem for victim in victims]
        self.assertGreaterEqual(sum(gains), needed)
        for gain in gains:
            self.assertLess(sum(gains) - gain, needed)
        by_id = {each.service_id: each for each in candidates}
        for victim in victims:
            candidate = by_id[victim.service_id]
            self.assertEqual(len(set(victim.instance_ids)), len(victim.instance_ids))
            self.assertEqual(victim.gives.mem, candidate.need.mem * len(victim.instance_ids))
            self.assertLessEqual(len(victim.instance_ids), candidate.total if victim.goes else candidate.spare)

    @given(st.lists(st.integers(0, 1000), min_size=1, max_size=12, unique=True), st.data())
    def test_amongEqualsItIsTheOrderOfUse(self, used, data):
        number = data.draw(st.integers(1, len(used)))
        victims = choose(mib(10 * number), ROOM, [idle(str(at), 10, at) for at in used])
        self.assertEqual([victim.used_at for victim in victims], sorted(used)[:number])


class NeedTests(SynchronousTestCase):
    def needs(self, waiting, starting, level=1):
        described = service(concurrency_level=level)
        instances = tuple(Instance(id=f"s.{number}", service_id=described.id) for number in range(starting))
        state = ServiceState(service=described, unhealthy=instances, starting=instances)
        return needs_another(state, ServiceLoad(outstanding=waiting, waiting=waiting))

    def test_requestsBeyondWhatIsStarting(self):
        self.assertTrue(self.needs(1, 0))
        self.assertFalse(self.needs(0, 0))
        self.assertFalse(self.needs(2, 2))
        self.assertTrue(self.needs(3, 2))
        self.assertFalse(self.needs(10, 2, level=5))
        self.assertTrue(self.needs(11, 2, level=5))


class CandidateTests(SynchronousTestCase):
    def candidate(self, *, idle=2, busy=0, waiting=0, requested=None, **parameters):
        described = service(**parameters)
        total = idle + busy
        healthy = tuple(Instance(id=f"s.{number}", service_id=described.id) for number in range(total))
        state = ServiceState(
            service=described,
            healthy=healthy,
            counts=InstanceCounts(requested=total if requested is None else requested, scheduled=total),
        )
        load = ServiceLoad(outstanding=busy + waiting, waiting=waiting)
        return Candidate.of(state, load, state.counts.requested, {each.id: 1.0 for each in healthy[busy:]})

    def numbers(self, **facts):
        candidate = self.candidate(**facts)
        return candidate and (candidate.spare, candidate.total)

    def test_anIdleServiceMayGo(self):
        self.assertEqual(self.numbers(idle=3), (2, 3))

    def test_aPinnedOneStays(self):
        self.assertIsNone(self.candidate(pin=True))

    def test_oneThatRequestsWaitForStays(self):
        self.assertIsNone(self.candidate(waiting=1))

    def test_oneWithoutIdleInstancesHasNothingToGive(self):
        self.assertIsNone(self.candidate(idle=0, busy=2))

    def test_oneInUseKeepsItsMinimum(self):
        self.assertEqual(self.numbers(idle=3, busy=1), (3, None))
        self.assertEqual(self.numbers(idle=3, busy=1, min_instances=3), (1, None))
        self.assertIsNone(self.numbers(idle=3, busy=1, min_instances=4))

    def test_oneInUseIsNotLeftWithNothingRequested(self):
        self.assertIsNone(self.numbers(idle=2, busy=1, requested=1, min_instances=0))

    def test_anIdleOneAtItsMinimumGoesOnlyAltogether(self):
        self.assertEqual(self.numbers(idle=3, min_instances=3), (0, 3))

    def test_oneWithoutMinimumMayLoseAll(self):
        self.assertEqual(self.numbers(idle=2, min_instances=0), (2, 2))


class MachineCase(SynchronousTestCase):
    def machine(self, *services, **options):
        return Machine(self, *services, **options)

    @staticmethod
    def services(number, **parameters):
        return [service(f"waiter-service-{n:02}", **{"mem": 100, **parameters}) for n in range(number)]


class LeastRecentlyUsedTests(MachineCase):
    """Eight services fit."""

    def test_thirtyServicesInTurn(self):
        services = self.services(30)
        machine = self.machine(*services)
        used = [machine.use(each) for each in services]
        self.assertEqual(machine.ended, used[:22])
        self.assertEqual(machine.running(), used[22:])
        self.assertEqual({machine.status(each) for each in services[:22]}, {"Inactive"})

    def test_useCountsNotTheStart(self):
        services = self.services(9)
        machine = self.machine(*services)
        ids = [machine.use(each) for each in services[:8]]
        machine.use(services[0])
        machine.use(services[8])
        self.assertEqual(machine.ended, [ids[1]])

    def test_theEndOfALongRequestCountsNotItsBeginning(self):
        services = self.services(9)
        machine = self.machine(*services)
        lease = machine.take(services[0])
        ids = [machine.use(each) for each in services[1:8]]
        lease.release(Outcome.SUCCESS)
        machine.use(services[8])
        self.assertEqual(machine.ended, [ids[0]])

    def test_aBusyOneAndAPinnedOneStay(self):
        busy, *services = self.services(20)
        pinned = service("waiter-service-pinned", mem=100, pin=True)
        machine = self.machine(busy, pinned, *services)
        lease = machine.take(busy)
        machine.use(pinned)
        for each in services:
            machine.use(each)
        self.assertEqual(machine.running()[:2], [lease.instance.id, *machine.running(pinned)])
        self.assertEqual(len(machine.running()), 8)

    def test_noTimePassesBetweenTheQueueAndTheEviction(self):
        services = self.services(9)
        machine = self.machine(*services)
        for each in services[:8]:
            machine.use(each)
        machine.run(1.5)
        machine.wait(services[8])
        machine.at_once()
        self.assertEqual(machine.ended, [f"{services[0].id}.0"])

    def test_whatWasAdoptedWasLastUsedAtTheAdoption(self):
        early, late = self.services(2, mem=400)
        new = service("waiter-service-new", mem=400)
        machine = self.machine(early, late, new)
        machine.use(early)
        machine.run(1)
        # Found, not asked for.
        machine.scheduler.create(late)
        machine.run(1)
        machine.use(early)
        machine.use(new)
        self.assertEqual(machine.ended, [f"{late.id}.1"])


class RoomTests(MachineCase):
    def test_whoWaitsLooksWhenAnInstanceBecomesIdle(self):
        one, other = self.services(2, mem=600)
        machine = self.machine(one, other)
        lease = machine.take(one)
        got, _ = machine.wait(other)
        machine.run(20)
        self.assertEqual((got, machine.ended), ([], []))
        lease.release(Outcome.SUCCESS)
        machine.run(0.06)
        self.assertEqual(machine.ended, [lease.instance.id])
        machine.run(1)
        self.assertEqual(len(got), 1)

    def test_whileOneEndsNobodyElseIsStopped(self):
        services = self.services(9, termination_grace_period_secs=60)
        machine = self.machine(*services, end_secs=30)
        for each in services[:8]:
            machine.use(each)
        got, _ = machine.wait(services[8])
        machine.run(29)
        self.assertEqual((got, len(machine.ended)), ([], 1))
        self.assertIn("are ending", machine.reservers.find(services[8].id).queued_reason)
        machine.run(2)
        self.assertEqual((len(got), len(machine.ended)), (1, 1))

    def test_twoThatWaitGetARoomEach(self):
        services = self.services(10)
        machine = self.machine(*services)
        used = [machine.use(each) for each in services[:8]]
        answers = [machine.wait(each)[0] for each in services[8:]]
        machine.at_once()
        self.assertEqual(sorted(machine.ended), sorted(used[:2]))
        machine.run(1)
        self.assertEqual([len(got) for got in answers], [1, 1])
        self.assertEqual(len(machine.ended), 2)

    def test_twoThatFitIntoOneRoomShareIt(self):
        big = self.services(2, mem=400)
        small = [service(f"waiter-service-small{number}", mem=200) for number in range(2)]
        machine = self.machine(*big, *small)
        used = [machine.use(each) for each in big]
        answers = [machine.wait(each)[0] for each in small]
        machine.run(1)
        self.assertEqual([len(got) for got in answers], [1, 1])
        self.assertEqual(machine.ended, used[:1])

    def test_oldNewsEvictNobodyTwice(self):
        services = self.services(9)
        machine = self.machine(*services, lag_secs=0.5)
        for each in services[:8]:
            machine.use(each)
        machine.run(2)
        machine.wait(services[8])
        while not machine.ended:
            machine.run(0.01)
        for _ in range(20):
            machine.evictor.demand(services[8].id)
            machine.run(0.01)
        self.assertEqual(len(machine.ended), 1)

    def test_newsThatAreTakenInOneAfterTheOtherEvictNobodyTwice(self):
        wide = service("waiter-service-wide", mem=200, scale_up_factor=0.99, scale_down_factor=0.01)
        other = service("waiter-service-o", mem=200)
        machine = self.machine(wide, other)
        leases = [machine.wait(wide)[0] for _ in range(4)]
        machine.run(5)
        for (lease,) in leases:
            lease.release(Outcome.SUCCESS)
        machine.takes_turns()
        got, _ = machine.wait(other)
        while not got:
            machine.run(0.01)
        self.assertEqual(len(machine.ended), 1)

    def test_whoIsWaitedForComesBeforeWhoIsNot(self):
        holder, left, other = self.services(3, mem=600)
        machine = self.machine(holder, left, other)
        lease = machine.take(holder)
        _, waiting = machine.wait(left)
        machine.run(2)
        waiting.addErrback(lambda _: None)
        waiting.cancel()
        got, _ = machine.wait(other)
        machine.run(2)
        lease.release(Outcome.SUCCESS)
        machine.run(1)
        self.assertEqual([running.service_id for running in machine.runner.started], [holder.id, other.id])
        self.assertEqual(len(got), 1)

    def test_aServiceOfWhichInstancesAreEndingGoesWhenTheyHaveEnded(self):
        wide = service("waiter-service-wide", mem=200, scale_up_factor=0.99, scale_down_factor=0.99)
        other = service("waiter-service-o", mem=700)
        machine = self.machine(wide, other, end_secs=30)
        leases = [machine.wait(wide)[0] for _ in range(4)]
        machine.run(5)
        for (lease,) in leases:
            lease.release(Outcome.SUCCESS)
        machine.run(5)
        self.assertEqual(len(machine.ended), 3)
        got, _ = machine.wait(other)
        machine.run(15)
        self.assertEqual(len(machine.ended), 3)
        machine.run(50)
        self.assertEqual((len(machine.ended), len(got), machine.status(wide)), (4, 1, "Inactive"))

    def test_whatCannotMakeEnoughRoomIsNotStopped(self):
        busy, idle, big = (
            service("waiter-service-b", mem=300),
            *self.services(1),
            service("waiter-service-big", mem=700),
        )
        machine = self.machine(busy, idle, big)
        machine.take(busy)
        machine.use(idle)
        got, _ = machine.wait(big, timeout_secs=5)
        machine.run(6)
        self.assertEqual(machine.ended, [])
        got[0].trap(NoInstanceInTime)
        message = got[0].getErrorMessage()
        self.assertIn("needs 700 MiB and 400 MiB are free", message)
        self.assertIn("would not make enough room", message)

    def test_whereEverythingIsInUseThatIsSaid(self):
        busy, other = self.services(2, mem=600)
        machine = self.machine(busy, other)
        machine.take(busy)
        got, _ = machine.wait(other, timeout_secs=5)
        machine.run(6)
        self.assertIn("All instances of other services are in use, pinned or needed", got[0].getErrorMessage())

    def test_aSmallOneEvictsWhileABigOneCannot(self):
        busy, idle, big = (
            service("waiter-service-b", mem=300),
            *self.services(1),
            service("waiter-service-big", mem=700),
        )
        small = service("waiter-service-small", mem=450)
        machine = self.machine(busy, idle, big, small)
        machine.take(busy)
        used = machine.use(idle)
        machine.wait(big)
        machine.run(1)
        machine.use(small)
        self.assertEqual(machine.ended, [used])

    def test_aStartThatNobodyWaitsForEvictsNobody(self):
        idle, many = *self.services(1, mem=400), service("waiter-service-many", mem=200, min_instances=3)
        machine = self.machine(idle, many)
        machine.use(idle)
        machine.use(many)
        machine.run(30)
        self.assertEqual((machine.ended, len(machine.running(many))), ([], 2))
        self.assertIsNotNone(machine.aggregator.state.services[many.id].shortage)

    def test_whenSomebodyBeginsToWaitForAStartThatIsHeldBackRoomIsMade(self):
        idle, many = *self.services(1, mem=400), service("waiter-service-many", mem=200, min_instances=3)
        machine = self.machine(idle, many)
        used = machine.use(idle)
        for _ in range(2):
            machine.take(many)
        machine.run(5)
        self.assertEqual(machine.ended, [])
        machine.wait(many)
        machine.at_once()
        self.assertEqual(machine.ended, [used])

    def test_whenThoseWhoWaitedHaveLeftNobodyIsStoppedForThem(self):
        one, other = self.services(2, mem=600)
        machine = self.machine(one, other)
        lease = machine.take(one)
        _, waiting = machine.wait(other)
        machine.run(1)
        waiting.addErrback(lambda _: None)
        waiting.cancel()
        lease.release(Outcome.SUCCESS)
        machine.run(20)
        self.assertEqual(machine.ended, [])
        self.assertEqual(machine.evictor.state()["held-back"][other.id]["waited-for"], False)

    def test_onlyTheLeaderEvicts(self):
        one, other = self.services(2, mem=600)
        machine = self.machine(one, other)
        used = machine.use(one)
        machine.leader = False
        got, _ = machine.wait(other)
        machine.run(10)
        self.assertEqual((machine.ended, got), ([], []))
        machine.leader = True
        machine.run(2)
        self.assertEqual((machine.ended, len(got)), ([used], 1))

    def test_whenOthersObjectItStaysAndServes(self):
        one, other = self.services(2, mem=600)
        machine = self.machine(one, other)
        used = machine.use(one)
        machine.approve = lambda _: succeed(False)
        got, _ = machine.wait(other)
        machine.run(10)
        self.assertEqual((machine.ended, got), ([], []))
        self.assertEqual(machine.use(one), used)
        machine.approve = lambda _: succeed(True)
        machine.run(5)
        self.assertEqual((machine.ended, len(got)), ([used], 1))

    def test_afterItIsStoppedItEvictsNobody(self):
        one, other = self.services(2, mem=600)
        machine = self.machine(one, other)
        machine.use(one)
        machine.evictor.stopService()
        machine.wait(other)
        machine.run(10)
        self.assertEqual(machine.ended, [])

    def test_whileInstancesOfAServiceAreEndingAnotherOneGoes(self):
        wide = service("waiter-service-wide", mem=200, scale_up_factor=0.99, scale_down_factor=0.99)
        thin, other = service("waiter-service-thin", mem=100), service("waiter-service-o", mem=700)
        machine = self.machine(wide, thin, other, mem=900, end_secs=30)
        leases = [machine.wait(wide)[0] for _ in range(4)]
        machine.run(5)
        for (lease,) in leases:
            lease.release(Outcome.SUCCESS)
        used = machine.use(thin)
        machine.run(5)
        machine.wait(other)
        machine.at_once()
        self.assertEqual(machine.ended[3:], [used])


class NoThrashingTests(MachineCase):
    def test_twoThatFitOnlyAloneTakeTurns(self):
        one, other = self.services(2, mem=600)
        machine = self.machine(one, other)
        for number in range(10):
            machine.use((one, other)[number % 2])
            machine.run(5)
            self.assertEqual(len(machine.ended), number)
            self.assertEqual(len(machine.running()), 1)

    def test_oneThatMadeRoomStaysAwayUntilSomebodyAsksForIt(self):
        one, other = self.services(2, mem=600)
        machine = self.machine(one, other)
        machine.use(one)
        machine.use(other)
        machine.run(120, step=0.1)
        self.assertEqual((machine.status(one), machine.running(one)), ("Inactive", []))
        self.assertEqual(len(machine.runner.started), 2)

    def test_aServiceWithAMinimumGoesAltogetherAndStaysAway(self):
        many, other = service("waiter-service-many", mem=200, min_instances=3), service("waiter-service-o", mem=300)
        machine = self.machine(many, other)
        machine.use(many)
        machine.run(1)
        self.assertEqual(len(machine.running(many)), 3)
        machine.use(other)
        machine.run(60, step=0.1)
        self.assertEqual((machine.status(many), len(machine.ended)), ("Inactive", 3))
        self.assertEqual(len(machine.runner.started), 4)

    def test_aServiceInUseGivesWhatItDoesNotNeedAndDoesNotGrowAgain(self):
        wide = service("waiter-service-wide", mem=200, scale_up_factor=0.99)
        other = service("waiter-service-o", mem=300)
        machine = self.machine(wide, other)
        leases = [machine.wait(wide)[0] for _ in range(4)]
        machine.run(5)
        self.assertEqual([len(got) for got in leases], [1, 1, 1, 1])
        for (lease,) in leases[1:]:
            lease.release(Outcome.SUCCESS)
        machine.use(other)
        machine.run(60, step=0.1)
        self.assertEqual((len(machine.ended), len(machine.running(wide))), (2, 2))
        self.assertIn(leases[0][0].instance.id, machine.running(wide))

    def test_aRequestForTheOneThatIsBeingStoppedIsServedInTheEnd(self):
        one, other = self.services(2, mem=600)
        machine = self.machine(one, other, end_secs=1)
        machine.use(one)
        got, _ = machine.wait(other)
        machine.at_once()
        again, _ = machine.wait(one)
        machine.run(3)
        self.assertEqual((len(got), again), (1, []))
        got[0].release(Outcome.SUCCESS)
        machine.run(3)
        self.assertEqual(len(again), 1)


class OperatorTests(MachineCase):
    """Somebody deletes services by hand."""

    def test_whoWaitsForAStartGetsAnotherInstance(self):
        (one,) = self.services(1)
        machine = self.machine(one, start_secs=1)
        got, _ = machine.wait(one)
        machine.run(0.5)
        self.successResultOf(self.deleted(machine, one))
        machine.run(2)
        self.assertEqual(got[0].instance.id, f"{one.id}.1")

    def test_whoWaitsForASlotGetsOneOfAnotherInstance(self):
        (one,) = self.services(1, max_instances=1)
        machine = self.machine(one)
        lease = machine.take(one)
        got, _ = machine.wait(one)
        self.successResultOf(self.deleted(machine, one))
        machine.run(1)
        self.assertEqual(got[0].instance.id, f"{one.id}.1")
        lease.release(Outcome.INSTANCE_ERROR)
        machine.run(1)
        self.assertEqual(machine.running(), [f"{one.id}.1"])

    def test_whoWaitsForRoomWaitsOn(self):
        one, other = self.services(2, mem=600)
        machine = self.machine(one, other)
        lease = machine.take(one)
        got, _ = machine.wait(other)
        machine.run(1)
        self.successResultOf(self.deleted(machine, other))
        machine.run(1)
        self.assertEqual(got, [])
        lease.release(Outcome.SUCCESS)
        machine.run(1)
        self.assertEqual(got[0].instance.service_id, other.id)

    def test_itMayHappenDuringAnEviction(self):
        one, other = self.services(2, mem=600)
        machine = self.machine(one, other, end_secs=1)
        machine.use(one)
        got, _ = machine.wait(other)
        machine.at_once()
        self.successResultOf(self.deleted(machine, one))
        machine.run(3)
        self.assertEqual(got[0].instance.service_id, other.id)
        got[0].release(Outcome.SUCCESS)
        machine.use(one)

    def deleted(self, machine, described):
        deleting = machine.scheduler.delete(described.id)
        machine.run(0.05)
        return deleting


@attrs.define(kw_only=True)
class Crowd:
    """Clients that ask for any of the services, one request after the other each."""

    machine: Machine
    services: list
    random: Random
    served: int = 0
    wrong: list = attrs.field(factory=list)

    def ask(self, again):
        """Send a request now, and C{again} others later."""
        answer = self.machine.reservers.reserver(self.random.choice(self.services)).reserve(timeout_secs=1000)
        if isinstance(answer, Lease):
            self.serve(answer, again)
        else:
            answer.addCallback(self.serve, again)

    def serve(self, lease, again):
        """Use the slot for a while."""
        self.machine.clock.callLater(self.random.choice([0.01, 0.1, 1, 3]), self.done, lease, again)

    def done(self, lease, again):
        """Give the slot back."""
        if lease.instance.id in self.machine.ended:
            self.wrong.append(lease.instance.id)
        self.served += 1
        lease.release(Outcome.SUCCESS)
        if again:
            self.machine.clock.callLater(self.random.uniform(0, 2), self.ask, again - 1)


class StormTests(MachineCase):
    """Fifteen services, room for some of them, and clients that ask for any."""

    def crowd(self, seed):
        random = Random(seed)  # noqa: S311 - a test that can be repeated
        services = [
            service(
                f"waiter-service-{number:02}",
                mem=random.choice([50, 100, 200, 400]),
                min_instances=random.choice([0, 1, 1, 2]),
                concurrency_level=random.choice([1, 1, 4]),
                scale_up_factor=0.5,
                scale_down_factor=0.5,
            )
            for number in range(15)
        ]
        machine = self.machine(*services, start_secs=0.1, end_secs=0.05)
        return Crowd(machine=machine, services=services, random=random)

    def test_everybodyIsServedAndNobodyInUseIsStopped(self):
        for seed in range(4):
            crowd = self.crowd(seed)
            machine = crowd.machine
            for _ in range(12):
                crowd.ask(9)
            for _ in range(600):
                machine.run(1, step=0.05)
                self.assertGreaterEqual(machine.scheduler.state()["capacity"]["free"]["mem"], -0.001)
                if crowd.served == 120:
                    break
            self.assertEqual((crowd.served, crowd.wrong), (120, []), machine.scheduler.state())

    def test_whenNobodyAsksAnyMoreAllComesToRest(self):
        crowd = self.crowd(7)
        machine = crowd.machine
        for _ in range(12):
            crowd.ask(9)
        machine.run(300, step=0.05)
        before = len(machine.ended), len(machine.runner.started)
        machine.run(60, step=0.1)
        self.assertEqual((len(machine.ended), len(machine.runner.started)), before)
        self.assertEqual(machine.evictor.state()["being-evicted"], [])
